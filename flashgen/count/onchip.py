"""On-chip bytes of a kernel: the tiles alive at each statement, the papers' M.

A tile lives from the statement that makes it to the last that uses it; what a later pass of a loop uses
lives through the whole loop. A ``Map``, or a ``Dot`` into its accumulator, writes over an operand of the
same axes and dtype that dies there. One buffer a tile, no pipelining; coordinates and scalars are free.
"""

from __future__ import annotations

from flashgen.ir.program import Coords, Dot, Kernel, Loop, Map, Stmt, Tile, statements
from flashgen.ir.uses import defined, result, used


def live_sets(kernel: Kernel) -> tuple[frozenset[Tile], ...]:
    """The sets of tiles alive at once, those inside another left out."""
    results = [(s, result(s)) for s in statements(kernel.body)]
    made = {t.name: t for s, t in results if t is not None and t.axes and not isinstance(s, Coords)}
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
        dst, needed = made.get(defined(s) or ""), frozenset(used(s)) & made.keys()
        assigned = frozenset() if dst is None else frozenset((dst.name,))
        alive = after | needed | assigned
        if dst is not None and isinstance(s, Map | Dot) and dst.name not in needed:
            dying = sorted(n for n in needed - after if _alike(made[n], dst))
            alive -= set(dying[:1])
        found.add(alive)
        after = (after - assigned) | needed
    return after


def _alike(a: Tile, b: Tile) -> bool:
    return a.axes == b.axes and a.dtype == b.dtype
