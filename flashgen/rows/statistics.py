"""Numbers of rows: one for each query, on chip as a tile and in HBM as a tensor over (b, h, q)."""

from __future__ import annotations

from flashgen.expr.nodes import Expr
from flashgen.expr.terms import index
from flashgen.ir.program import Load, Store, Tile

ROW = ("q",)
IN_ROW = (index("b"), index("h"), index("q"))


def row(name: str) -> Tile:
    """A number of each row of a tile."""
    return Tile(name, ROW, "acc")


def loaded(name: str, guard: Expr | None, fill: float = 0.0) -> Load:
    """One number of each row from the tensor of its name; ``fill`` past the end."""
    return Load(row(name), name, IN_ROW, guard, fill)


def stored(name: str, guard: Expr | None, src: str | None = None) -> Store:
    """The same to HBM, from the tile ``src`` where it has another name."""
    return Store(name, IN_ROW, row(src or name), guard)
