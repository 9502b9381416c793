"""rowsum(dO * O) of the rows of a tile, which a row function may need of each row before any pair."""

from __future__ import annotations

from flashgen.expr.nodes import Expr
from flashgen.expr.terms import call, tile
from flashgen.ir.program import Map, Reduce, Stmt, Tile
from flashgen.rows.function import RowFunction
from flashgen.rows.statistics import row

from .axes import ROWS_INSIDE
from .pieces import Piece
from .recompute import rows_of


def prepared(function: RowFunction, e_pieces: tuple[Piece, ...], through: str | None) -> list[Stmt]:
    """What ``function`` prepares of the rows whose ``do`` is on chip."""
    return function.prepare(lambda name: _products(e_pieces, name), through, ROWS_INSIDE)


def _products(e_pieces: tuple[Piece, ...], name: str) -> tuple[list[Stmt], Expr]:
    """Loads of ``o``, and the sum over its pieces."""
    out: list[Stmt] = []
    total: Expr | None = None
    for p in e_pieces:
        load = rows_of("o", p, ROWS_INSIDE)
        product = Tile(f"do_o{p.name[1:]}", load.dst.axes, "acc")
        part = row(f"{name}{p.name[1:]}")
        out += [
            load,
            Map(product, call("mul", tile(rows_of("do", p).dst.name), tile(load.dst.name))),
            Reduce(part, product, p.name, "sum"),
        ]
        total = tile(part.name) if total is None else call("add", total, tile(part.name))
    assert total is not None
    return out, total
