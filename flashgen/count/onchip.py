"""On-chip bytes of a kernel: the tiles alive at each statement, the papers' M.

A tile lives from the statement that makes it to the last that uses it; what a later pass of a loop uses
lives through the whole loop. A ``Map``, or a ``Dot`` into its accumulator, writes over an operand of the
same axes and dtype that dies there. One buffer a tile, no pipelining; coordinates and scalars are free.
"""

from __future__ import annotations

from flashgen.expr.nodes import variables
from flashgen.ir.program import (
    Coords,
    Dot,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Reduce,
    Stmt,
    Store,
    Tile,
    statements,
)


def live_sets(kernel: Kernel) -> tuple[frozenset[Tile], ...]:
    """The sets of tiles alive at once, those inside another left out."""
    made = {
        s.dst.name: s.dst
        for s in statements(kernel.body)
        if isinstance(s, Load | Dot | Map | Reduce | Keep) and s.dst.axes
    }
    found: set[frozenset[str]] = set()
    _before(kernel.body, frozenset(), made, found)
    largest = [a for a in found if not any(a < b for b in found)]
    return tuple(frozenset(made[n] for n in names) for names in sorted(largest, key=sorted))


def _before(
    body: tuple[Stmt, ...], after: frozenset[str], made: dict[str, Tile], found: set[frozenset[str]]
) -> frozenset[str]:
    """What is alive before ``body`` when ``after`` is alive behind it; statements' sets go to ``found``."""
    for s in reversed(body):
        if isinstance(s, Loop):
            again = after | _before(s.body, after, made, set())
            after = after | _before(s.body, again, made, found)
            continue
        used = frozenset(used_tiles(s)) & made.keys()
        dst = s.dst.name if isinstance(s, Load | Dot | Map | Reduce | Keep) and s.dst.axes else None
        alive = after | used | ({dst} if dst else set())
        if dst is not None and isinstance(s, Map | Dot) and dst not in used:
            dying = sorted(n for n in used - after if _alike(made[n], made[dst]))
            alive -= set(dying[:1])
        found.add(frozenset(alive))
        after = (after - {dst} if dst else after) | used
    return after


def _alike(a: Tile, b: Tile) -> bool:
    return a.axes == b.axes and a.dtype == b.dtype


def used_tiles(s: Stmt) -> set[str]:
    """The names that a statement reads: tiles, scalars and coordinates."""
    exprs = []
    if isinstance(s, Load | Store):
        exprs = [*s.index, *([] if s.guard is None else [s.guard])]
    names = {v for e in exprs for v in variables(e)}
    match s:
        case Store():
            return names | {s.value.name}
        case Dot():
            return {s.a.name, s.b.name}.union(*(variables(e) for e in (s.acc, s.only) if e is not None))
        case Map():
            return variables(s.value)
        case Reduce():
            return {s.src.name}
        case Keep():
            return {s.seed.name} | {v for e in (s.head, s.q_lo, s.k_lo) for v in variables(e)}
        case Load() | Coords():
            return names
    return set()
