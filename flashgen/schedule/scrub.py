"""Sums over keys leave out keys of no weight: a pass over the statements of a partial tile.

``Dot`` over k of weights and rows of K or V -> the same with ``only`` where some row's weight is above 0.
What nobody sees (``unseen``) then adds 0 whatever it holds, and so does what every row of the tile sees
with a weight that is exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashgen.expr.nodes import Call, Expr, real
from flashgen.expr.terms import call, tile
from flashgen.ir.program import Dot, Map, Reduce, Stmt, Tile, statements

WEIGHTS = "p"


def sums_over_keys(body: Sequence[Stmt]) -> bool:
    """Whether a body has products of weights and keys."""
    return any(isinstance(s, Dot) and s.contract == "k" for s in statements(tuple(body)))


def scrubbed(body: Sequence[Stmt], rows: Expr | None = None) -> list[Stmt]:
    """``body`` with its sums over keys scrubbed. ``rows``: the rows that exist, where others have weights."""
    made = next((s.dst for s in body if isinstance(s, Map) and s.dst.name == WEIGHTS), None)
    out: list[Stmt] = []
    known: set[str] = set()  # weights whose largest is there
    for s in body:
        if isinstance(s, Dot) and s.contract == "k":
            weights = made or s.a
            largest = Tile(f"{weights.name}_max", ("k",), "acc")
            if weights.name not in known:
                known.add(weights.name)
                out += _largest(weights, largest, rows, signed=made is None)
            s = replace(s, only=Call("gt", (tile(largest.name), real(0.0)), "bool"))
        out.append(s)
    return out


def _largest(weights: Tile, dst: Tile, rows: Expr | None, signed: bool) -> list[Stmt]:
    """The largest weight of each key."""
    value: Expr = call("abs", tile(weights.name)) if signed else tile(weights.name)
    if rows is not None:
        value = call("where", rows, value, real(0.0))
    note = "the largest weight of each key: one of 0 adds nothing, whatever it holds"
    if value == tile(weights.name):
        return [Reduce(dst, weights, "q", "max", note)]
    of_rows = Tile(f"{weights.name}_rows", weights.axes, "acc")
    return [Map(of_rows, value), Reduce(dst, of_rows, "q", "max", note)]
