"""DRAM traffic of a kernel: what L2 cannot answer. Requested bytes, which it mostly can, are ``count``'s.

Programs are launched in an order, so many at a time: a window. What those of a window share is read once, as
they go through it side by side. What a later window reads again comes from L2, unless more was read in
between than L2 holds: a cycle larger than a cache finds nothing of its last round. So the order decides:
a bias that batch entries share is read once where they follow one another, once for each where they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from flashgen.expr.nodes import variables
from flashgen.ir.program import Range
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Order

from .facts import KernelFacts, LoadFacts, LoopFacts
from .trips import extent

if TYPE_CHECKING:
    from flashgen.plan.resources import Tiling

#: Digits of the heads' axis: KV heads, and the query heads of one.
SHARED = "the heads of a KV head"


@dataclass(frozen=True)
class Digit:
    """A digit of a program's number: a grid axis, or a part of one. ``inner``: programs between two of its
    values."""

    axis: str
    extent: int
    inner: int

    def seen(self, window: float) -> float:
        """How many of its values so many programs in a row have, in the mean."""
        return min(float(self.extent), max(1.0, window / self.inner))


@dataclass
class Read:
    """A tensor: the bytes that one program asks for, those that a later loop of it asks for again, those that
    there are for one head (at each value of ``digits``), and the digits along which that is another part."""

    each: float
    repeated: float
    part: float
    digits: tuple[Digit, ...]
    free: tuple[Digit, ...]

    def unique(self, window: float, tiles: float, of: int) -> float:
        """Different bytes that so many programs in a row read, which have ``tiles`` of all tiles (``of``).

        Tiles next to each other mostly read the same: from one tile's to all that there is, evenly.
        """
        one, every = min(self.each, self.part), min(self.part, of * self.each)
        growth = (tiles - 1) / (of - 1) if of > 1 else 0.0
        return prod(d.seen(window) for d in self.digits) * (one + growth * (every - one))


def dram_bytes(
    t: Tiling, w: Workload, blocks: int, slots: int, mean: Sequence[float], sides: Mapping[str, int]
) -> float:
    """DRAM traffic of ``blocks`` programs, ``slots`` of them at a time: stores as requested, loads as said
    above. ``mean``: passes of each loop."""
    stored, reads, tile = _reads(t, w, mean, sides)
    window = float(max(1, min(blocks, slots)))
    l2 = t.target.number("l2")

    @lru_cache(maxsize=16)
    def footprint(programs: float) -> float:
        return sum(r.unique(programs, tile.seen(programs), tile.extent) for r in reads)

    total = blocks * stored
    for r in reads:
        again, tiles = 1.0, float(tile.extent)
        for d in r.free:
            rounds = d.extent / d.seen(window)
            if rounds > 1 and footprint(max(window, float(d.inner))) > l2:
                again *= rounds
                tiles = d.seen(window) if d is tile else tiles
        total += min(blocks * r.each, again * r.unique(float(blocks), tiles, tile.extent))
        if r.repeated and window * r.each > l2:
            total += min(blocks * r.repeated, r.unique(float(blocks), float(tile.extent), tile.extent))
    return total


def apart(t: Tiling, w: Workload, mean: Sequence[float], sides: Mapping[str, int]) -> float:
    """How far apart programs are launched that share what they load: programs, by the bytes they share."""
    _, reads, _ = _reads(t, w, mean, sides)
    return sum(min(r.each, r.part) * d.inner for r in reads for d in r.free)


@lru_cache(maxsize=4096)
def _digits(
    f: KernelFacts, order: Order, w: Workload, sides: tuple[tuple[str, int], ...]
) -> tuple[Digit, ...]:
    """The digits of a program's number in launch order, slowest first (``Order``)."""
    extents = {g.name: max(1, extent(g.extent, w, dict(sides))) for g in f.kernel.grid}
    slow: list[tuple[str, int]] = []
    for a in order.axes:
        if a == "h" and w.Hq > w.Hkv > 0:
            slow += [(a, w.Hkv), (SHARED, w.Hq // w.Hkv)]
        else:
            slow.append((a, extents[a]))
    if order.group and len(slow) > 1:
        *rows, last = slow
        left = order.together(w)
        outer: list[tuple[str, int]] = []
        fast: list[tuple[str, int]] = []
        for axis, e in reversed(rows):
            taken = min(e, max(left, 1))
            left //= taken
            fast.insert(0, (axis, taken))
            outer.insert(0, (axis, -(-e // taken)))
        slow = [*outer, last, *fast]
    inner, out = 1, []
    for axis, e in reversed(slow):
        if e > 1:
            out.append(Digit(axis, e, inner))
        inner *= max(e, 1)
    return tuple(reversed(out))


def _reads(
    t: Tiling, w: Workload, mean: Sequence[float], sides: Mapping[str, int]
) -> tuple[float, list[Read], Digit]:
    """Bytes that a program stores, the tensors it reads, and the digit that numbers tiles."""
    f = t.facts
    digits = _digits(f, t.order, w, tuple(sides.items()))
    tile = next((d for d in digits if f.cut and d.axis == f.cut.name), Digit("", 1, 1))
    stored = 0.0
    asked: dict[str, dict[tuple[Range, ...], float]] = {}  # of each tensor by what its loop runs over
    repeated: dict[str, float] = {}
    loads: dict[str, LoadFacts] = {}
    for n, body in zip((1.0, *mean), (f.body, *f.loops), strict=True):
        stored += n * t.stored_bytes(body)
        domain = body.domain if isinstance(body, LoopFacts) else ()
        for x in body.loads:
            of = asked.setdefault(x.src, {})
            if domain in of:
                repeated[x.src] = repeated.get(x.src, 0.0) + n * t.bytes_of(x)
            of.setdefault(domain, n * t.bytes_of(x))
            loads.setdefault(x.src, x)
    reads = []
    for src, x in loads.items():
        own = tuple(d for d in digits if d.axis != tile.axis and _along(f, src, d.axis, x.varies))
        size = _elements(f, src, w) * t.item(x.dtype) / prod(d.extent for d in own)
        free = tuple(d for d in digits if d not in own and not (d is tile and tile.axis in x.varies))
        reads.append(Read(sum(asked[src].values()), repeated.get(src, 0.0), size, own, free))
    return stored, reads, tile


def _along(f: KernelFacts, src: str, axis: str, varies: frozenset[str]) -> bool:
    """Whether programs that differ in ``axis`` read different parts of tensor ``src``."""
    if axis == SHARED:
        return "h" in varies and all("Hkv" not in variables(n) for n in f.program.tensor(src).dims)
    return axis in varies


@lru_cache(maxsize=4096)
def _elements(f: KernelFacts, tensor: str, w: Workload) -> int:
    return prod(extent(n, w, {}) for n in f.program.tensor(tensor).dims)
