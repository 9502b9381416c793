"""Triton: everything that knows its shared memory, layouts, options and text."""

from .door import Triton

BACKEND = Triton()
