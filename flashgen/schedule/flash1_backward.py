"""FlashAttention backward (Algorithm 4): K and V tiles in the outer loop, Q tiles in the inner one.

One program per KV head. dK and dV of a tile of keys stay on chip while the queries that see it pass; dQ lies
in HBM in the accumulator's type, where each pass adds its share, and is scaled and rounded in a last loop.
What the row function needs of each row is prepared once in a first loop, where the paper makes it in every
pass (line 19) and so reads O each time.
"""

from __future__ import annotations

from flashgen.expr.nodes import integer, real
from flashgen.expr.terms import ZERO, call, index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Coords,
    Dot,
    Fence,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Range,
    Stmt,
    Store,
    Tensor,
    Tile,
)
from flashgen.rows.statistics import IN_ROW

from . import dropout
from .axes import GROUP, HEAD_OF_GROUP, HQ, KEYS_INSIDE, NQ, ROWS_INSIDE, B, grid
from .backward import called, gradient_tensors
from .biases import dense_kernel, table_kernel
from .bounds import KEYS, QUERIES
from .flash2 import columns_inside, precision, program_scalars
from .gradients import Learned, learned, line_sums
from .loops import every_tile, visits
from .outer import LAST_KEY, bounded, differs_by_head, key_limits
from .pieces import Piece
from .products import prepared
from .recompute import Tiles, rows_of
from .scrub import scrubbed


def flash1_backward(ir: AttentionIR, through: str | None = None) -> Program:
    """dq, dk, dv and the gradients of learned inputs, as ``backward`` gives them.

    Raises ``NoDerivative`` where the score, or a learned input's place in it, has none.
    """
    found = learned(ir)
    rows = [g for g in found if g.kind == "row"]
    kernels = [
        _kernel(ir, [g for g in found if g.kind == "column"], through),
        *([_rows_kernel(ir, rows)] if rows else []),
        *(dense_kernel(ir, g) for g in found if g.kind == "dense"),
        *(table_kernel(ir, g) for g in found if g.kind == "table"),
    ]
    sums_of_dq = Tensor("dQ", (B, HQ, NQ, integer(ir.d_qk)), "acc", "workspace")
    return Program(
        ir.name,
        called("flash1_backward", through),
        gradient_tensors(ir, found, through, sums_of_dq),
        tuple(kernels),
        sums=tuple(g.total for g in found if g.total is not None),
    )


def _kernel(ir: AttentionIR, columns: list[Learned], through: str | None) -> Kernel:
    """dQ, dK and dV, and what learned inputs get from each column."""
    limits, keys_inside, clean = key_limits(ir)
    by_head = differs_by_head(limits)
    t = Tiles.of(bounded(ir), QUERIES, [g.read for g in columns])
    sums = line_sums(t.values, t.gradient, columns, t.axes, KEYS_INSIDE)
    weights, rounded = t.kept(), t.rounded()
    totals = (*t.names("dk"), *t.names("dv"))

    def step(partial: bool) -> list[Stmt]:
        body = [
            *t.scores(partial),
            *sums.step,
            weights,
            *t.accumulated("dv", weights.dst, "do", "dV = dV + P^T dO"),
            rounded,
            *t.accumulated("dk", rounded.dst, "q", "dK = dK + dS^T Q"),
            *(s for p in t.d_pieces for s in _added(t, p, rounded.dst)),
        ]
        return scrubbed(body) if partial and not clean else body

    head: list[Stmt] = [
        HEAD_OF_GROUP,
        *dropout.head(ir),
        *([*limits, *t.given(keys_inside)] if by_head else []),
        *t.values.prologue,
        *t.bounds.scalars,
        *sums.start,
        *visits(t.bounds, QUERIES, (*totals, *sums.carried), step, "q_tile"),
        *sums.finish,
    ]
    tile_of_keys: list[Stmt] = [
        LAST_KEY,
        *([] if by_head else t.given(keys_inside)),
        *t.zeros("dk"),
        *t.zeros("dv"),
        _heads(head, totals),
        *t.stored("dk", KEYS_INSIDE, ir.scale),
        *t.stored("dv", KEYS_INSIDE),
        Fence(),
    ]
    body: list[Stmt] = [
        *dropout.seed(ir),
        *t.columns(),
        _heads([HEAD_OF_GROUP, _start(t, through)]),
        Fence(),
        *([] if by_head else limits),
        every_tile(KEYS, (), tile_of_keys, "k_tile", "a tile of keys stays on chip while all queries pass"),
        _heads([HEAD_OF_GROUP, _finish(t)]),
    ]
    return Kernel(
        name=f"{ir.name}_bwd_dqkv",
        grid=grid("b", "hkv"),
        axes=t.kernel_axes,
        body=tuple(body),
        note="FlashAttention backward: dQ, dK and dV of one KV head, dQ through HBM.",
    )


def _heads(body: list[Stmt], carried: tuple[str, ...] = ()) -> Loop:
    return Loop("i_head", (Range(ZERO, GROUP),), carried, tuple(body), note="the query heads of this KV head")


def _start(t: Tiles, through: str | None) -> Loop:
    """What is prepared of every row, and dQ = 0."""
    made = t.gradient.row.prepares
    first = f"{made} of every row, and " if made else ""
    step: list[Stmt] = [*t.loads("do", ROWS_INSIDE), *prepared(t.gradient.row, t.e_pieces, through)]
    for p in t.d_pieces:
        step += [Map(_dq(p), real(0.0)), _store(p)]
    return every_tile(QUERIES, (), step, "q_tile", f"{first}nothing in dQ yet")


def _added(t: Tiles, p: Piece, ds: Tile) -> list[Stmt]:
    """dQ = dQ + dS K for one piece, in HBM."""
    keys, before = rows_of("k", p).dst, tile(_dq(p).name)
    return [_load(p), Dot(_dq(p), ds, keys, "k", before, precision(t.ir), "dQ = dQ + dS K"), _store(p)]


def _finish(t: Tiles) -> Loop:
    """dQ, scaled, in the element type."""
    step: list[Stmt] = []
    for p in t.d_pieces:
        final = Tile(f"{_dq(p).name}_elem", _dq(p).axes, "elem")
        value = call("mul", tile(_dq(p).name), real(t.ir.scale))
        at = (*IN_ROW, index(p.name))
        step += [_load(p), Map(final, value), Store("dq", at, final, columns_inside(p, ROWS_INSIDE))]
    return every_tile(QUERIES, (), step, "q_tile", "the results")


def _dq(p: Piece) -> Tile:
    return Tile(f"dq{p.name[1:]}", ("q", p.name), "acc")


def _load(p: Piece) -> Load:
    return Load(_dq(p), "dQ", (*IN_ROW, index(p.name)), columns_inside(p, ROWS_INSIDE))


def _store(p: Piece) -> Store:
    return Store("dQ", (*IN_ROW, index(p.name)), _dq(p), columns_inside(p, ROWS_INSIDE))


def _rows_kernel(ir: AttentionIR, rows: list[Learned]) -> Kernel:
    """What learned inputs get from each row, whose pairs the first kernel does not meet together."""
    t = Tiles.of(ir, KEYS, [g.read for g in rows])
    sums = line_sums(t.values, t.gradient, rows, t.axes, ROWS_INSIDE)
    body: list[Stmt] = [
        *program_scalars(),
        *dropout.seed(ir),
        *dropout.head(ir),
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *t.columns(),
        *t.given(ROWS_INSIDE),
        *t.gradient.row.prepared(ROWS_INSIDE, sink=True),
        *t.values.prologue,
        *t.bounds.scalars,
        *sums.start,
        *t.loops(sums.carried, lambda partial: [*t.scores(partial), *sums.step]),
        *sums.finish,
    ]
    return Kernel(
        name=f"{ir.name}_bwd_drows",
        grid=grid("b", "h", "q_tile"),
        axes=t.kernel_axes,
        body=tuple(body),
        note="What inputs get from one tile of queries.",
        longest=t.bounds.longest,
    )
