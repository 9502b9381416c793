"""Whether a target's name is that of a device, as drivers spell it: ``rtx4090`` and ``GeForce RTX 4090``."""

from __future__ import annotations

import re


def is_named(name: str, device: str) -> bool:
    """Whether ``device`` has ``name`` in it, letters and digits parted or not, and no further digit behind:
    an L40S is no ``l4``."""
    parts = re.findall(r"[a-z]+|\d+", name.lower())
    return re.search(f"{'[ -]?'.join(parts)}(?![0-9])", device.lower()) is not None
