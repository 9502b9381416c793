"""What the backward passes know of each row before any pair: ``delta`` and ``lse`` in base 2.

delta = rowsum(dO * O) - dlse        FlashAttention-2, Algorithm 2, line 4; FlashAttention, equation 4
lse2  = log2(e) * lse                so that P = exp2(t - lse2)

Where a score may be large, ``lse_hi`` stands for ``lse2``: see ``lse``.
"""

from __future__ import annotations

import math

from flashgen.expr.nodes import Expr, real
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Map, Reduce, Stmt, Store, Tile

from .axes import IN_ROW, ROW, ROWS_INSIDE, statistic
from .lse import known, seen
from .pieces import Piece
from .recompute import rows_of
from .terms import LOG2_E, call, is_minus_inf, tile


def row_statistics(ir: AttentionIR, e_pieces: tuple[Piece, ...], through_lse: bool) -> list[Stmt]:
    """Both of the rows, from ``do`` on chip and ``o``; stored for the kernels that follow."""
    out: list[Stmt] = []
    total: Expr | None = None
    for p in e_pieces:
        load = rows_of("o", p, ROWS_INSIDE)
        product = Tile(f"do_o{p.name[1:]}", load.dst.axes, "acc")
        part = Tile(f"delta{p.name[1:]}", ROW, "acc")
        out += [
            load,
            Map(product, call("mul", tile(rows_of("do", p).dst.name), tile(load.dst.name))),
            Reduce(part, product, p.name, "sum"),
        ]
        total = tile(part.name) if total is None else call("add", total, tile(part.name))
    assert total is not None
    note = "delta = rowsum(dO * O)"
    if through_lse:
        out.append(statistic("dlse", ROWS_INSIDE))
        total, note = call("sub", total, tile("dlse")), f"{note} - dlse"
    in_base_2 = call("mul", tile("lse"), real(LOG2_E))
    value = call("where", is_minus_inf(tile("lse")), real(math.inf), in_base_2)
    unit, made = "in base 2; ", Tile(known(ir)[0], ROW, "acc")
    if ir.large_score:
        unit, value = "", seen(tile("lse"))
    return [
        *out,
        Map(Tile("delta", ROW, "acc"), total, note),
        statistic("lse", ROWS_INSIDE),
        Map(made, value, f"{unit}a row that saw nothing: exp2(s - inf) = 0"),
        *(statistic(name, ROWS_INSIDE) for name in known(ir)[1:]),
        Store("delta", IN_ROW, Tile("delta", ROW, "acc"), ROWS_INSIDE),
        Store(made.name, IN_ROW, made, ROWS_INSIDE),
    ]
