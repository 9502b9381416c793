"""Measured figures beside the peers: every time and ratio of ``docs/benchmarks.md`` comes from here."""
