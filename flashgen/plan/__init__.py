"""The search among tiles, the selection, and the time model."""
