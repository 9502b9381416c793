"""Triton: everything that knows its shared memory, layouts, options and text."""
