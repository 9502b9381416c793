"""Requested bytes, FLOPs, exponentials and on-chip bytes of any ``Program``: as numbers and as formulas."""
