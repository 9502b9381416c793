"""Which candidate a kernel is compiled from: the fastest by what the compiler made of it.

The two that the model finds best are compiled, and then those that it ranks behind them only for a spill that
it foresees: as ptxas often finds a way around, one that would be best without is worth a compile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashgen.errors import PlanError
from flashgen.plan.plan import Measured, Plan

from .launch import Compiled
from .source import SPILL_LIMIT_BYTES, Choice

#: How many plans are compiled in place of one that the compiler refuses; how many that it accepts; and how
#: many beyond those in the hope of no spill.
TRIES = 8
CONFIRMED = 2
HOPED = 2
#: What follows a plan that spilled holds at most this share of its registers a thread.
EASED = 0.9
#: A spill of so many times the limit comes from what iterations that overlap hold of each other.
FAR = 2


@dataclass
class Settling:
    """The search of kernel number ``number``. ``compiled``: a plan's kernel, or why it cannot run;
    ``confirmed``: its time by the compiler's numbers."""

    number: int
    compiled: Callable[[Plan], Compiled | str]
    confirmed: Callable[[Plan, Measured], float]
    reasons: list[str] = field(default_factory=list)
    best: tuple[float, Plan, Compiled] | None = None
    least: tuple[int, Plan, Compiled] | None = None  # of those that spill too much
    spilled: dict[tuple[int, str, bool], float] = field(default_factory=dict)
    overlapped: bool = True
    accepted: int = 0

    def settled(self, choices: Sequence[Choice]) -> tuple[Plan, Compiled]:
        """The plan whose kernel is fastest, of ``choices``, the most promising first. Where all spill too
        much, the one that spills least: slow, but right. Raises ``PlanError`` where none compiles."""
        tried: list[Choice] = []
        for c in choices:
            if self.accepted == CONFIRMED or len(self.reasons) == TRIES or not self.less(c.us):
                break
            tried.append(c)
            self.consider(c)
        hoped = sorted((c for c in choices if c not in tried and c.hoped < c.us), key=lambda c: c.hoped)
        for c in hoped[: HOPED if self.best else 0]:
            if self.less(c.hoped):
                self.consider(c)
        found = self.best or self.least
        if found is None:
            raise PlanError("\n  ".join(self.reasons))
        return found[1:]

    def less(self, us: float) -> bool:
        """Whether ``us`` would be less than the best so far."""
        return self.best is None or us < self.best[0]

    def consider(self, c: Choice) -> None:
        """Compile ``c``, unless what others came to says that it spills.

        After one that spilled too much, those with as many warps and the same loads are compiled only if
        their tiles take clearly fewer registers; after one that spilled far more than tiles explain, only
        those that do not overlap iterations, as it is what they hold of the next ones.
        """
        k = c.plan.kernels[self.number]
        kind = k.num_warps, k.loads, k.num_stages > 1
        if c.held > EASED * self.spilled.get(kind, math.inf) or (k.num_stages > 1 and not self.overlapped):
            return
        found = self.compiled(c.plan)
        if isinstance(found, str):
            self.reasons.append(f"{k}: {found}")
            return
        spill = found.measured.spill_bytes
        if spill <= SPILL_LIMIT_BYTES:
            us = self.confirmed(c.plan, found.measured)
            if self.less(us):
                self.best = us, c.plan, found
            self.accepted += 1
            return
        if self.least is None or spill < self.least[0]:
            self.least = spill, c.plan, found
        self.spilled[kind] = c.held
        self.overlapped = self.overlapped and spill <= FAR * SPILL_LIMIT_BYTES
        self.reasons.append(f"{k}: spills {spill} B a thread, above {SPILL_LIMIT_BYTES}")
