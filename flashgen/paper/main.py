"""All figures, in the papers' order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from . import blocks, comparison, memory, passes, window
from .measured import Clock
from .tables import Section

#: Each with times of a device, where it is given its clock.
FIGURES: dict[str, Callable[[Clock | None], Section]] = {
    "comparison": comparison.section,
    "blocks": blocks.section,
    "memory": lambda clock: memory.section(),
    "window": window.section,
    "softmax": lambda clock: passes.section(),
}


@cache
def figure(name: str) -> Section:
    """One figure, nothing measured."""
    return FIGURES[name](None)
