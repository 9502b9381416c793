"""Runs a ``Program`` on torch tensors: the CPU backend, and the checking mode that counts what it moves."""
