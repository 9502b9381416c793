"""Which target a device is, or is like, by its name: ``rtx4090`` and a driver's ``GeForce RTX 4090``."""

from __future__ import annotations

import re


def is_named(name: str, device: str) -> bool:
    """Whether ``device`` has ``name`` in it, letters and digits parted or not, and no further digit behind:
    an L40S is no ``l4``."""
    parts = re.findall(r"[a-z]+|\d+", name.lower())
    return re.search(f"{'[ -]?'.join(parts)}(?![0-9])", device.lower()) is not None


def is_kin(description: str, device: str) -> bool:
    """Whether both are cards for players, or neither: those have half the rate of matrix units at the same
    architecture."""
    return ("geforce" in description.lower()) == ("geforce" in device.lower())
