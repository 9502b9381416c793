"""Which candidate a kernel is compiled from: the fastest by what the compiler made of it.

The most promising ones are compiled side by side. Where all of them spill too much or do not compile, the
next ones are, without those that what was learnt rules out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashgen.errors import PlanError
from flashgen.plan.plan import MAX_SPILL_BYTES, Measured, Plan

from .launch import Compiled
from .source import Choice

#: How many plans are compiled at once, and how many may be refused; those predicted to take FAR times as long
#: as the first are left out at first.
ABREAST = 4
TRIES = 16
FAR = 1.3
#: What follows a plan that spilled holds at most this share of its registers a thread.
EASED = 0.9
#: A spill of so many times the limit comes from what iterations that overlap hold of each other.
MUCH = 2


@dataclass
class Settling:
    """The search of kernel number ``number``. ``compiled``: the kernel of each of some plans, or why it
    cannot run; ``confirmed``: a kernel's time by the compiler's numbers."""

    number: int
    compiled: Callable[[Sequence[Plan]], Sequence[Compiled | str]]
    confirmed: Callable[[Plan, Measured], float]
    reasons: list[str] = field(default_factory=list)
    accepted: list[tuple[float, Plan, Compiled]] = field(default_factory=list)
    least: tuple[int, Plan, Compiled] | None = None  # of those that spill too much
    spilled: dict[tuple[int, str, bool], float] = field(default_factory=dict)
    overlapped: bool = True

    def settled(self, choices: Sequence[Choice]) -> list[tuple[Plan, Compiled]]:
        """Plans of ``choices``, the most promising first, and their kernels: the fastest first. Where all
        spill too much, the one that spills least: slow, but right. Raises ``PlanError`` where none does."""
        waiting = list(choices)
        batch = [c for c in waiting if c.us <= FAR * waiting[0].us][:ABREAST]
        while batch and not self.accepted and len(self.reasons) < TRIES:
            for c, found in zip(batch, self.compiled([c.plan for c in batch]), strict=True):
                self.consider(c, found)
            waiting = [c for c in waiting if c not in batch and not self.ruled_out(c)]
            batch = waiting[:ABREAST]
        if self.accepted:
            return [(plan, kernel) for _, plan, kernel in sorted(self.accepted, key=lambda a: a[0])]
        if self.least is None:
            raise PlanError("\n  ".join(self.reasons))
        return [self.least[1:]]

    def ruled_out(self, c: Choice) -> bool:
        """Whether what others came to says that ``c`` spills too much.

        After one that did, those with as many warps and the same loads are compiled only if their tiles take
        clearly fewer registers; after one that spilled far more than tiles explain, only those that do not
        overlap iterations, as it is what they hold of the next ones.
        """
        kind = self.kind(c)
        overlaps = kind[-1]
        return c.held > EASED * self.spilled.get(kind, math.inf) or (overlaps and not self.overlapped)

    def kind(self, c: Choice) -> tuple[int, str, bool]:
        """Warps, loads, and whether iterations overlap: what spills alike."""
        k = c.plan.kernels[self.number]
        return k.num_warps, k.loads, k.num_stages > 1

    def consider(self, c: Choice, found: Compiled | str) -> None:
        """Take note of what became of ``c``."""
        k = c.plan.kernels[self.number]
        if isinstance(found, str):
            self.reasons.append(f"{k}: {found}")
            return
        spill = found.measured.spill_bytes
        if spill <= MAX_SPILL_BYTES:
            self.accepted.append((self.confirmed(c.plan, found.measured), c.plan, found))
            return
        if self.least is None or spill < self.least[0]:
            self.least = spill, c.plan, found
        kind = self.kind(c)
        self.spilled[kind] = min(c.held, self.spilled.get(kind, math.inf))
        self.overlapped = self.overlapped and spill <= MUCH * MAX_SPILL_BYTES
        self.reasons.append(f"{k}: spills {spill} B a thread, above {MAX_SPILL_BYTES}")
