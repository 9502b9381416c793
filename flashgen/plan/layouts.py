"""Layouts: who holds an element of a tile, and the scratch of a tile that goes from one layout to another.

A ``Layout`` says of each bit of an element's row and column whether a thread's registers, its lane or its
warp tell it. A tile loaded by address lies in rows of lanes that hold vectors; a dot's result lies as the
matrix units leave it. What goes from one to the other passes through shared memory, a part at a time. The
rules are those of Triton 3.6, read off its allocations for sm_80 and sm_90.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from flashgen.plan.model.facts import BodyFacts, DotFacts, LoadFacts

from .resources import Tiling
from .sectors import vector

#: An axis, and the number of a bit of the places along it.
Bit: TypeAlias = tuple[str, int]
LANES = 32
#: Of a dot's result a warp holds 16 rows and 8 columns at least; a lane two columns side by side and, 8 rows
#: further, two more.
ROWS, COLUMNS = 16, 8
#: Tiles that meet a dot's results are moved as fp32, of which an access moves 4 at most.
MOVED_ITEM, MOST_BITS = 4, 2


@dataclass(frozen=True)
class Layout:
    """The bits that registers, lanes and warps tell."""

    registers: frozenset[Bit]
    lanes: frozenset[Bit]
    warps: frozenset[Bit]


def loaded(t: Tiling, x: LoadFacts) -> Layout:
    """The layout of a matrix loaded by address: vectors along the axis where elements lie side by side, lanes
    and then warps along it first. Elements found by a computed index are taken along the first axis."""
    fast = x.along if x.along and not x.gathered else x.axes[0]
    (slow,) = (a for a in x.axes if a != fast)
    each = min(vector(t, x.axes, fast), t.sizes[fast])
    lanes = min(LANES, t.sizes[fast] // each)
    warps = min(t.warps, max(1, t.sizes[fast] // (each * lanes)))
    parts = {fast: (each, lanes, warps), slow: (1, LANES // lanes, t.warps // warps)}

    def who(bit: Bit) -> Who:
        registers, lane, warp = parts[bit[0]]
        place = 1 << bit[1]
        if place < registers or place >= registers * lane * warp:
            return "register"
        return "lane" if place < registers * lane else "warp"

    return _layout(t, x.axes, who)


def result(t: Tiling, d: DotFacts, abreast: bool) -> Layout:
    """The layout of a dot's result. ``abreast``: the older units' warps stand side by side along its columns,
    where they are else one below the other as long as there are rows."""
    (rows,), (columns,) = d.m, d.n
    below = min(t.warps, max(1, t.sizes[rows] // ROWS))
    if abreast and not t.wgmma(d):
        below = t.warps // min(t.warps, max(1, t.sizes[columns] // COLUMNS))
    beside = t.warps // below

    def who(bit: Bit) -> Who:
        axis, place = bit[0], 1 << bit[1]
        if axis == rows:
            lane, warp = place < COLUMNS, ROWS <= place < ROWS * below
        else:
            lane = 1 < place < COLUMNS
            first = t.sizes[columns] // beside if t.wgmma(d) else COLUMNS
            warp = place >= COLUMNS and first <= place < first * beside
        return "warp" if warp else "lane" if lane else "register"

    return _layout(t, (rows, columns), who)


def moved_bytes(t: Tiling, x: LoadFacts, d: DotFacts, abreast: bool, back: bool) -> int:
    """Bytes in which ``x`` goes from its layout to that of ``d``'s result; ``back``: and something of its
    shape the other way. Bits that registers tell in both layouts need no room: their elements go one after
    another, but for those that one access moves together."""
    a, b = loaded(t, x), result(t, d, abreast)
    if a.warps == b.warps and len(a.registers & b.lanes) < MOST_BITS:
        return 0  # within a warp, by shuffles
    both = len(a.registers & b.registers)
    (columns,) = d.n
    # A thread's vectors may be what neighbouring lanes take; the older units cannot give them like that.
    by_lanes = {(columns, 1), (columns, 2)} <= a.registers
    if not by_lanes or (back and t.target.matrix == "mma"):
        both = max(0, both - MOST_BITS)
    return t.count(x.axes) * MOVED_ITEM >> both


def dot_of(body: BodyFacts, x: LoadFacts) -> DotFacts | None:
    """The dot in ``body`` whose result has the shape of ``x``."""
    return next((d for d in body.dots if {*d.m, *d.n} == set(x.axes)), None)


Who: TypeAlias = Literal["register", "lane", "warp"]


def _layout(t: Tiling, axes: tuple[str, ...], who: Callable[[Bit], Who]) -> Layout:
    bits = [(a, i) for a in axes for i in range(t.sizes[a].bit_length() - 1)]
    tells = {bit: who(bit) for bit in bits}
    return Layout(*(frozenset(b for b in bits if tells[b] == w) for w in ("register", "lane", "warp")))
