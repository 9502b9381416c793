"""All figures, in the papers' order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from . import blocks, comparison, memory, passes, window
from .tables import Section

FIGURES: dict[str, Callable[[bool], Section]] = {
    "comparison": comparison.section,
    "blocks": blocks.section,
    "memory": lambda measure: memory.section(),
    "window": window.section,
    "softmax": lambda measure: passes.section(),
}


@cache
def figure(name: str, measure: bool = False) -> Section:
    """One figure; ``measure``: with times of the CUDA device at hand."""
    return FIGURES[name](measure)
