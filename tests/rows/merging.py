"""A program that merges partial results of the same rows, over different keys, by ``RowFunction.merge``."""

from __future__ import annotations

from flashgen.expr.nodes import Expr, integer, real
from flashgen.expr.terms import ZERO, call, index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Axis, Kernel, Load, Loop, Map, Program, Range, Stmt, Store, Tensor, Tile
from flashgen.rows import row_function
from flashgen.rows.statistics import IN_ROW, row
from flashgen.schedule.axes import BLOCK_M, HKV, HQ, NK, NQ, ROWS_INSIDE, B, grid
from flashgen.schedule.flash2 import accumulator, columns_inside, program_scalars, tile_rows
from flashgen.schedule.pieces import Piece, pieces
from flashgen.schedule.values import Values


def merging(ir: AttentionIR, parts: int) -> Program:
    """``o_parts`` (parts, B, Hq, Nq, Dv) and of each row what a forward leaves (parts, B, Hq, Nq), all in the
    accumulator's type, become ``o`` and what is left. Each part counts no sink."""
    function, cut = row_function(ir), pieces(ir.d_v, "e")
    step, factor = function.merge()
    body: list[Stmt] = [
        Load(row(f"{name}_part"), f"{name}_parts", (index("part"), *IN_ROW), ROWS_INSIDE)
        for name in function.left
    ]
    body += step.weights
    for p in cut:
        o, part = accumulator(p), Tile(f"{accumulator(p).name}_part", accumulator(p).axes, "acc")
        more: Expr = tile(part.name) if factor is None else call("mul", factor, tile(part.name))
        body += [
            Load(part, "o_parts", (index("part"), *IN_ROW, index(p.name)), columns_inside(p, ROWS_INSIDE)),
            Map(o, call("add", function.rescaled(tile(o.name)).value, more)),
        ]
    body += step.close
    carried = (*function.carried, *(accumulator(p).name for p in cut))
    values = Values(ir)
    statements: list[Stmt] = [
        *program_scalars(),
        *tile_rows(cut),
        *function.start(values),
        *(Map(accumulator(p), real(0.0)) for p in cut),
        Loop("part", (Range(ZERO, integer(parts)),), carried, tuple(body)),
        *function.finish(),
        *(s for p in cut for s in _stored(p, function.scaled(tile(accumulator(p).name)).value)),
        *function.stores(ROWS_INSIDE),
    ]
    axes = (Axis("q", BLOCK_M), *(Axis(p.name, integer(p.size)) for p in cut))
    kernel = Kernel(f"{ir.name}_merge", grid("b", "h", "q_tile"), axes, tuple(statements))
    rows, e = (B, HQ, NQ), integer(ir.d_v)
    tensors = (
        Tensor("q", (*rows, integer(ir.d_qk)), "elem", "q"),
        Tensor("k", (B, HKV, NK, integer(ir.d_qk)), "elem", "k"),
        Tensor("o_parts", (integer(parts), *rows, e), "acc", "saved"),
        *(Tensor(f"{name}_parts", (integer(parts), *rows), "acc", "saved") for name in function.left),
        Tensor("o", (*rows, e), "acc", "out"),
        *(Tensor(name, rows, "acc", "out") for name in function.left),
    )
    return Program(ir.name, "merge", tensors, (kernel,))


def _stored(p: Piece, value: Expr) -> list[Stmt]:
    final = Tile(f"{accumulator(p).name}_elem", accumulator(p).axes, "acc")
    return [Map(final, value), Store("o", (*IN_ROW, index(p.name)), final, columns_inside(p, ROWS_INSIDE))]
