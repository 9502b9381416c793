"""Which tiles are alive at each statement of a body, and which a dot needs."""

from __future__ import annotations

from flashgen.ir.program import Dot, Map, Stmt, Tile, statements
from flashgen.ir.uses import result, used


def leads_to_dot(body: tuple[Stmt, ...]) -> set[str]:
    """Names that some dot of ``body`` (not of loops in it) depends on."""
    need: set[str] = set()
    for s in reversed(body):
        dst = result(s)
        if isinstance(s, Dot) or (dst is not None and dst.name in need):
            need |= used(s)
    return need


def largest(sets: list[tuple[Tile, ...]]) -> list[tuple[Tile, ...]]:
    """``sets`` without repeats and without those inside another."""
    unique = list(dict.fromkeys(sets))
    return [a for a in unique if not any(a != b and set(a) <= set(b) for b in unique)]


def liveness(body: tuple[Stmt, ...]) -> list[tuple[Tile, ...]]:
    """For each statement of a body, the tiles that hold registers or scratch while it runs.

    A tile lives from its definition to its last use; carried and outer tiles are live throughout when
    used anywhere. A Map may write over an operand of the same shape and dtype that dies there.
    """
    tiles: dict[str, Tile] = {}
    for s in statements(body):
        dst = result(s)
        if dst is not None:
            tiles[dst.name] = dst
    last: dict[str, int] = {}
    first: dict[str, int] = {}
    carried: set[str] = set()
    for i, s in enumerate(body):
        dst = result(s)
        for name in used(s):
            if name in tiles:
                last[name] = i
                if name not in first:
                    carried.add(name)
        if dst is not None and dst.name not in first:
            first[dst.name] = i
    for name in carried:
        first[name], last[name] = 0, len(body) - 1
    out = []
    for i, s in enumerate(body):
        dst = result(s)
        alive = {n for n in first if first[n] <= i <= last.get(n, first[n])}
        if isinstance(s, Map) and dst is not None and dst.name in alive:
            dying = [
                n for n in sorted(used(s))
                if n in tiles and last.get(n) == i and n not in carried and n != dst.name
                and tiles[n].axes == dst.axes and tiles[n].dtype == dst.dtype
            ]  # fmt: skip
            alive -= set(dying[:1])
        out.append(tuple(tiles[n] for n in sorted(alive)))
    return out
