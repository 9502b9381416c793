"""Which candidate a kernel is compiled from: the fastest by what the compiler made of it.

The most promising ones are compiled side by side. Where all of them spill too much or do not compile, the
next ones are, as what was learnt of those says (``plan.steer``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashgen.errors import PlanError
from flashgen.plan.plan import MAX_SPILL_BYTES, Measured, Plan
from flashgen.plan.steer import Steering

from .launch import Compiled
from .source import Choice

#: How many plans are compiled at once; those predicted to take FAR times as long as the first are left out
#: at first.
ABREAST = 4
FAR = 1.3


@dataclass
class Settling:
    """The search of kernel number ``number``. ``compiled``: the kernel of each of some plans, or why it
    cannot run; ``confirmed``: a kernel's time by the compiler's numbers."""

    number: int
    compiled: Callable[[Sequence[Plan]], Sequence[Compiled | str]]
    confirmed: Callable[[Plan, Measured], float]
    steering: Steering = field(default_factory=Steering)
    reasons: list[str] = field(default_factory=list)
    accepted: list[tuple[float, Plan, Compiled]] = field(default_factory=list)
    least: tuple[int, Plan, Compiled] | None = None  # of those that spill too much

    def settled(self, choices: Sequence[Choice]) -> list[tuple[Plan, Compiled]]:
        """Plans of ``choices``, the most promising first, and their kernels: the fastest first. Where all
        spill too much, the one that spills least: slow, but right. Raises ``PlanError`` where none does."""
        waiting = list(choices)
        near = [c for c in waiting if c.us <= FAR * waiting[0].us]
        batch = self.next_ones(near) or self.next_ones(waiting)
        while batch and not self.accepted:
            for c, found in zip(batch, self.compiled([c.plan for c in batch]), strict=True):
                self.consider(c, found)
            waiting = [c for c in waiting if c not in batch]
            batch = self.next_ones(waiting)
        if self.accepted:
            return [(plan, kernel) for _, plan, kernel in sorted(self.accepted, key=lambda a: a[0])]
        if self.least is None:
            raise PlanError("\n  ".join(self.reasons))
        return [self.least[1:]]

    def next_ones(self, waiting: Sequence[Choice]) -> list[Choice]:
        """Those that are compiled now."""
        n = min(ABREAST, self.steering.most(passed=False))
        return self.steering.next_ones(waiting, lambda c: c.room, n, passed=False) if n > 0 else []

    def consider(self, c: Choice, found: Compiled | str) -> None:
        """Take note of what became of ``c``."""
        k = c.plan.kernels[self.number]
        if isinstance(found, str):
            self.steering.learn(c.room, None, refused=True)
            self.reasons.append(f"{k}: {found}")
            return
        spill = found.measured.spill_bytes
        self.steering.learn(c.room, found.measured, refused=spill > MAX_SPILL_BYTES)
        if spill <= MAX_SPILL_BYTES:
            self.accepted.append((self.confirmed(c.plan, found.measured), c.plan, found))
            return
        if self.least is None or spill < self.least[0]:
            self.least = spill, c.plan, found
        self.reasons.append(f"{k}: spills {spill} B a thread, above {MAX_SPILL_BYTES}")
