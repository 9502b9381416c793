"""The GPUs: what the planner must know of each, read from ``specs/targets/*.yaml``."""
