"""How much work a function does, counted: the same on every machine and under any load."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable


def calls_of(run: Callable[[], object]) -> int:
    """Function calls of ``run()``, those of what it calls included."""
    profile = cProfile.Profile()
    profile.runcall(run)
    calls: int = vars(pstats.Stats(profile))["total_calls"]
    return calls
