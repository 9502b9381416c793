"""Loops over tiles: those that a mask leaves, full and partial apart, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Expr
from flashgen.expr.terms import ZERO, index
from flashgen.ir.program import Coords, Loop, Range, Scalar, Stmt, Tile

from .axes import TILES
from .bounds import KEYS, Bounds, Side
from .scrub import scrubbed, sums_over_keys
from .unseen import split


def tile_start(side: Side, number: str = "j") -> tuple[Stmt, ...]:
    """The first row of tile ``number`` along ``side.over``, and the row numbers."""
    lo, rows = f"{side.over}_lo", Tile(side.over, (side.over,), "int32")
    return Scalar(lo, al.mul(index(number), side.block)), Coords(rows, index(lo))


def visits(
    bounds: Bounds,
    side: Side,
    carried: tuple[str, ...],
    step: Callable[[bool], list[Stmt]],
    number: str = "j",
    rows: Expr | None = None,
) -> list[Stmt]:
    """A loop over the full tiles and one over the partial ones; ``step`` gives the body of either.

    Partial tiles that may hold keys which no query sees have a loop of their own where keys are summed up;
    ``rows`` are those that exist, where others have weights.
    """
    out: list[Stmt] = []
    start = tile_start(side, number)
    if bounds.full:
        note = "full tiles: every pair is visible"
        out.append(Loop(number, bounds.full, carried, (*start, *step(False)), "full", note))
    if bounds.partial:
        note, body = "partial tiles: some pairs are hidden", step(True)
        sums = side is KEYS and sums_over_keys(body)
        known, unknown = split(bounds.partial, bounds.proved) if sums else (bounds.partial, ())
        if known:
            out.append(Loop(number, known, carried, (*start, *body), "partial", note))
        if unknown:
            note = f"{note}, and some keys may be seen by no query"
            out.append(Loop(number, unknown, carried, (*start, *scrubbed(body, rows)), "partial", note))
    return out


def every_tile(
    side: Side, carried: tuple[str, ...], step: Sequence[Stmt], number: str = "j", note: str = ""
) -> Loop:
    """A loop over all tiles, whatever the mask hides."""
    domain = (Range(ZERO, TILES[f"{side.over}_tile"]),)
    return Loop(number, domain, carried, (*tile_start(side, number), *step), note=note)
