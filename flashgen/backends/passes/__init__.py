"""Passes that backends share: over the statements of a kernel, or over its lines (``listing``)."""
