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
from dataclasses import dataclass, field, replace
from typing import TypeVar

from flashgen.plan.model.facts import KernelFacts
from flashgen.targets.target import Target

from .plan import MAX_SPILL_BYTES, KernelPlan, Measured
from .resources import TIGHT_REGISTERS, register_parts, tiling
from .shared_values import shared_values
from .smem import pipelined, smem_bytes

T = TypeVar("T")
#: Candidates that the compiler may refuse before the search ends: each costs seconds.
REFUSALS = 8
#: Of a kind of tilings so many that the compiler makes no sound code of are enough, and so many of all kinds.
UNSOUND, UNSOUND_IN_ALL = 2, 16
#: Values that expressions share are reckoned with before anything is compiled if they are more than these.
FEW = 2
#: Registers of the address of an element that is gathered.
ADDRESS_REGISTERS = 2


@dataclass(frozen=True)
class Room:
    """What a tiling asks of a thread's registers, and of shared memory.

    ``kind``: whether dots are asynchronous, and how loads are issued. ``held``: registers a thread that named
    tiles, addresses and operands take by estimate; ``elements`` of a tile of scores that it has; ``limit``:
    registers it may have. ``ahead``: dots of the next pass run beside this one's work (wgmma in a pipelined
    loop), and hold more than can be counted. ``smem``: bytes of shared memory predicted, ``smem_limit`` those
    that exist. ``code``: the numbers that the code depends on; where no loop is pipelined stages are none of
    them.
    """

    code: KernelPlan
    kind: tuple[bool, str]
    held: float
    elements: float
    limit: int
    warps: int
    ahead: bool
    smem: int
    smem_limit: int

    def distance(self, other: Room) -> tuple[float, bool]:
        """How far apart two are, by elements first."""
        return abs(math.log2(self.elements / other.elements)), self.warps != other.warps

    def covers(self, other: Room) -> bool:
        """Whether this one, with as many warps, asks for no less than ``other`` in every respect."""
        return (
            self.warps == other.warps
            and self.ahead >= other.ahead
            and self.held >= other.held
            and self.elements >= other.elements
            and self.limit <= other.limit
        )


def room(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target) -> Room:
    """The ``Room`` of a kernel with the numbers of ``plan``."""
    t = tiling(f, plan, dtype, target)
    held = sum(n for what, n in register_parts(t).items() if what != "base")
    elements = math.prod(t.sides.values()) / t.threads
    inner = [loop for loop in f.loops if pipelined(t, loop)]
    ahead = any(t.wgmma(d) for loop in inner for d in loop.dots)
    code = plan if inner else replace(plan, num_stages=1)
    wgmma = any(t.wgmma(d) for body in (f.body, *f.loops) for d in body.dots)
    return Room(
        code,
        (wgmma, plan.loads),
        held,
        elements,
        t.register_limit,
        t.warps,
        ahead,
        smem_bytes(t),
        target.smem_bytes,
    )


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
        return max(0.0, (wanted - self.room.held - TIGHT_REGISTERS) / self.room.elements)

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
        return any(r.covers(x.room) for x in self.lessons if x.spilled)

    def spill_bytes(self, r: Room) -> float:
        """Bytes a thread that ``r`` is now thought to spill, by the verdict on the tiling nearest to it.

        Before one was refused for it the estimate is as good as it was, and expressions' shared values count.
        """
        about = [x for x in self.lessons if x.measured is not None and (r.ahead or not x.room.ahead)]
        rate = self.rate
        if any(rate or x.spilled for x in about):
            rate = min(reversed(about), key=lambda x: x.room.distance(r)).rate
        return 4 * (r.held + TIGHT_REGISTERS + rate * r.elements - r.limit) if rate else 0.0

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
    wanted = r.held + each * r.elements + TIGHT_REGISTERS
    if 4 * (wanted - r.limit) <= MAX_SPILL_BYTES:
        return ""
    return (
        f"the compiler has not seen it and may well want more than a thread's {r.limit} registers: about "
        f"{wanted:.0f}, {each * r.elements:.0f} of them within expressions; then build and calls take another"
    )
