"""Which candidates the compiler is asked about next: what it said of others corrects the estimate.

The estimate of registers counts the tiles that a program names. What an expression needs besides (values that
several of its parts share, addresses of gathered elements) grows with the elements of a scores' tile that a
thread holds, and how fast is the same for all tilings of a kernel: one verdict tells it. So a refusal rules
out at once all that would fare no better, and the search goes on with the most promising of those that now
fit, or, where none seems to, with the one that comes nearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flashgen.plan.model.facts import KernelFacts
from flashgen.plan.model.tiling import tiling
from flashgen.targets.target import Target

from .backend import Room, backend_of
from .plan import MAX_SPILL_BYTES, KernelPlan, Measured
from .shared_values import shared_values

T = TypeVar("T")
#: Candidates that the compiler may refuse before the search ends: each costs seconds.
REFUSALS = 8
#: Of a kind of tilings so many that the compiler makes no sound code of are enough, and so many of all kinds.
UNSOUND, UNSOUND_IN_ALL = 2, 16
#: Values that expressions share are reckoned with before anything is compiled if they are more than these.
FEW = 2
#: Registers of the address of an element that is gathered.
ADDRESS_REGISTERS = 2


def distance(a: Room, b: Room) -> tuple[float, bool]:
    """How far apart two are, by elements first."""
    return abs(math.log2(a.elements / b.elements)), a.warps != b.warps


def covers(a: Room, b: Room) -> bool:
    """Whether ``a``, with as many warps, asks for no less than ``b`` in every respect."""
    return (
        a.warps == b.warps
        and a.ahead >= b.ahead
        and a.held >= b.held
        and a.elements >= b.elements
        and a.limit <= b.limit
    )


def room(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target) -> Room:
    """The ``Room`` of a kernel with the numbers of ``plan``."""
    return backend_of(target).room(tiling(f, plan, dtype, target))


@dataclass(frozen=True)
class Lesson:
    """What became of one tiling; ``measured`` is None where it did not compile."""

    room: Room
    measured: Measured | None

    @property
    def rate(self) -> float:
        """Registers an element takes beyond the estimate, by what was used and spilled."""
        assert self.measured is not None
        wanted = self.measured.registers + self.measured.spill_bytes / 4
        return max(0.0, (wanted - self.room.held - self.room.beside) / self.room.elements)

    @property
    def spilled(self) -> bool:
        """Whether it was refused for its spills."""
        return self.measured is not None and self.measured.spill_bytes > MAX_SPILL_BYTES


@dataclass
class Steering:
    """The search through the tilings of one kernel, of whose expressions ``shared`` values are kept."""

    shared: int = 0
    lessons: list[Lesson] = field(default_factory=list)
    refusals: int = 0

    @property
    def rate(self) -> float:
        """Registers that an element is thought to take beyond the estimate, before anything is known."""
        return self.shared if self.shared > FEW else 0.0

    @property
    def goes_on(self) -> bool:
        """Whether another one may be compiled before the search ends."""
        return self.refusals < REFUSALS and len(self.unsound) < UNSOUND_IN_ALL

    @property
    def unsound(self) -> list[Room]:
        """Those that the compiler refused, or made wrong code of: that says nothing of their size."""
        return [x.room for x in self.lessons if x.measured is None]

    def learn(self, r: Room, measured: Measured | None, refused: bool) -> None:
        """Take note of what became of a tiling; ``measured`` is None where it did not compile."""
        self.refusals += refused and measured is not None
        self.lessons.append(Lesson(r, measured))

    def next_one(self, waiting: Sequence[T], room_of: Callable[[T], Room]) -> T | None:
        """Of ``waiting``, the most promising first, the one to compile now: the first that is thought to be
        accepted, or, where there is none, the one that comes nearest; None where all ask for as much as one
        that was refused."""
        asked = {x.room.code for x in self.lessons}
        fresh = [x for x in waiting if room_of(x).code not in asked]
        hopeful = next((x for x in fresh if self.hopeful(room_of(x))), None)
        if hopeful is not None:
            return hopeful
        left = [x for x in fresh if not self.hopeless(room_of(x))]
        return min(left, key=lambda x: self.missing(room_of(x)), default=None)

    def missing(self, r: Room) -> tuple[float, float]:
        """Bytes of shared memory and of registers that ``r`` is now thought to lack."""
        return max(0.0, self.smem_bytes(r) - r.smem_limit), self.spill_bytes(r)

    def hopeful(self, r: Room) -> bool:
        """Whether ``r`` is thought to be accepted."""
        smem, spill = self.missing(r)
        return not smem and spill <= MAX_SPILL_BYTES and not self.hopeless(r)

    def hopeless(self, r: Room) -> bool:
        """Whether ``r`` is of a kind of which no sound code was made, or asks for no less than one that
        spilled too much."""
        if sum(x.kind == r.kind for x in self.unsound) >= UNSOUND:
            return True
        return any(covers(r, x.room) for x in self.lessons if x.spilled)

    def spill_bytes(self, r: Room) -> float:
        """Bytes a thread that ``r`` is now thought to spill, by the verdict on the tiling nearest to it.

        Before one was refused for it the estimate is as good as it was, and expressions' shared values count.
        """
        about = [x for x in self.lessons if x.measured is not None and (r.ahead or not x.room.ahead)]
        rate = self.rate
        if any(rate or x.spilled for x in about):
            rate = min(reversed(about), key=lambda x: distance(x.room, r)).rate
        return 4 * (r.held + r.beside + rate * r.elements - r.limit) if rate else 0.0

    def smem_bytes(self, r: Room) -> float:
        """Bytes of shared memory that ``r`` is now thought to take: as many times those predicted as it was
        where one was refused for them."""
        said = [(x.measured.smem_bytes, x.room) for x in self.lessons if x.measured]
        return r.smem * max([1.0, *(took / max(x.smem, 1) for took, x in said if took > x.smem_limit)])


def doubt(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target) -> str:
    """A line on a plan that was not compiled, where the compiler may well want more registers than a thread
    may have; empty elsewhere."""
    r = room(f, plan, dtype, target)
    gathered = max((sum(x.gathered for x in loop.loads) for loop in f.loops), default=0)
    each = shared_values(f.kernel) + ADDRESS_REGISTERS * gathered
    wanted = r.held + each * r.elements + r.beside
    if 4 * (wanted - r.limit) <= MAX_SPILL_BYTES:
        return ""
    return (
        f"the compiler has not seen it and may well want more than a thread's {r.limit} registers: about "
        f"{wanted:.0f}, {each * r.elements:.0f} of them within expressions; then build and calls take another"
    )
