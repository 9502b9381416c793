"""Cache, launch and the torch op: generated kernels as a callable on tensors. ``api.py`` is the way in."""
