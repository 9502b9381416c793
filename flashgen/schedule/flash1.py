"""FlashAttention forward (Algorithm 1): K and V tiles in the outer loop, Q tiles in the inner one.

``AttentionIR`` -> ``Program``. One program per head. O and the row statistics l and m of every q tile live in
HBM: each pass loads those of a tile, rescales and updates them, and stores them. Line 12 of the paper keeps
O normalised throughout:

    O = diag(l_new)^-1 (diag(l) exp(m - m_new) O + exp(S - m_new) V)

O waits there in the accumulator's type and is rounded once, in a last loop, which also makes ``lse``.
"""

from __future__ import annotations

from flashgen.expr.nodes import Expr, integer, real
from flashgen.expr.terms import call, index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Axis,
    Dot,
    Fence,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Stmt,
    Store,
    Tensor,
    Tile,
)
from flashgen.rows import softmax_of
from flashgen.rows.function import S
from flashgen.rows.softmax import Softmax
from flashgen.rows.statistics import IN_ROW, loaded, row, stored

from . import dropout
from .axes import BLOCK_M, BLOCK_N, HQ, KV_HEAD, NQ, ROWS_INSIDE, B, grid
from .bounds import KEYS, QUERIES, mask_bounds
from .flash2 import accumulator, columns, columns_inside, precision, tensors
from .loops import every_tile, visits
from .outer import LAST_KEY, bounded, key_limits
from .pieces import Piece, pieces
from .recompute import rows_of, rows_times_keys
from .scrub import scrubbed
from .values import Values

STATISTICS = Softmax.carried


def flash1(ir: AttentionIR) -> Program:
    """The forward program: out ``o`` (B, Hq, Nq, Dv) and ``lse`` (B, Hq, Nq), natural logarithm.

    Raises ``PlanError`` for another row function than softmax: line 12 is what it is about.
    """
    softmax = softmax_of(ir, "flash1")
    d_pieces, e_pieces = pieces(ir.d_qk, "d"), pieces(ir.d_v, "e")
    limits, keys_inside, clean = key_limits(ir)
    values = Values(bounded(ir), outer="k", inner="q", order=("q", "k"))
    mask = values.ir.mask
    assert mask is not None
    bounds = mask_bounds(values.load_uniform(mask), QUERIES)
    visible = values.hoist(values.load_reads(bounds.visible))
    t = softmax.logit(values.load_reads(ir.score)).hoisted(values)

    def step(partial: bool) -> list[Stmt]:
        guard = bounds.inside if partial else None
        rows = ROWS_INSIDE if partial else None
        seen = visible if partial else None
        rounded = Tile("p_elem", S.axes, "elem")
        body: list[Stmt] = [
            *(rows_of("q", p, guard) for p in d_pieces),
            *(loaded(name, rows) for name in STATISTICS),
            *(_load(p, rows) for p in e_pieces),
            *rows_times_keys(ir, S, "q", "k", d_pieces, "S = Q K^T"),
            *values.in_loop(t.value, *([visible] if partial else []), bounds=guard),
            Map(row("l_old"), tile("l")),
            *softmax.step(t, seen, rows_may_be_empty=partial).weights,
            *dropout.drawn(ir, ("q", "k")),
            Map(rounded, dropout.kept(ir, tile("p")), "P in the input precision, for the matrix units"),
            Map(row("o_old"), call("mul", tile("l_old"), tile("alpha")), "the weight of O"),
            softmax.inverse(),
            *(s for p in e_pieces for s in _updated(ir, p, rounded, rows)),
            stored("l", rows),
            stored("m", rows, "m_new"),
        ]
        return scrubbed(body) if partial and not clean else body

    tile_of_keys: list[Stmt] = [
        LAST_KEY,
        *(rows_of("k", p, keys_inside) for p in d_pieces),
        *(rows_of("v", p, keys_inside) for p in e_pieces),
        *values.prologue,
        *bounds.scalars,
        *visits(bounds, QUERIES, (), step, "q_tile"),
        Fence(),
    ]
    body: list[Stmt] = [
        KV_HEAD,
        *dropout.seed(ir),
        *dropout.head(ir),
        *columns(d_pieces, e_pieces),
        _start(softmax, e_pieces),
        Fence(),
        *limits,
        every_tile(KEYS, (), tile_of_keys, "k_tile", "a tile of keys stays on chip while all queries pass"),
        _finish(softmax, e_pieces),
    ]
    kernel = Kernel(
        name=f"{ir.name}_fwd",
        grid=grid("b", "h"),
        axes=(
            Axis("q", BLOCK_M),
            Axis("k", BLOCK_N),
            *(Axis(p.name, integer(p.size)) for p in d_pieces + e_pieces),
        ),
        body=tuple(body),
        note="FlashAttention forward: O and lse of one head, through HBM.",
    )
    rows = (B, HQ, NQ)
    spaces = (
        Tensor("O", (*rows, integer(ir.d_v)), "acc", "workspace"),
        *(Tensor(name, rows, "acc", "workspace") for name in STATISTICS),
    )
    return Program(ir.name, "flash1", tensors(ir, *spaces), (kernel,))


def _start(softmax: Softmax, e_pieces: tuple[Piece, ...]) -> Loop:
    """O = 0, l = 0, m = -inf in HBM (line 2); a sink has been seen already."""
    values = Values(softmax.ir)
    sums = softmax.start(values)
    step: list[Stmt] = [*values.prologue, *sums]
    for p in e_pieces:
        step += [Map(accumulator(p), real(0.0)), _store(p, ROWS_INSIDE)]
    step += [stored(name, ROWS_INSIDE) for name in STATISTICS]
    return every_tile(QUERIES, (), step, "q_tile", "nothing seen yet")


def _updated(ir: AttentionIR, p: Piece, weights: Tile, rows: Expr | None) -> list[Stmt]:
    """Line 12 for one piece."""
    o = accumulator(p)
    before = call("mul", tile(o.name), tile("o_old"))
    note = "O = diag(l)^-1 (diag(l_old alpha) O + P V)"
    return [
        Dot(o, weights, rows_of("v", p).dst, "k", before, precision(ir), note),
        Map(o, call("mul", tile(o.name), tile("l_inv"))),
        _store(p, rows),
    ]


def _finish(softmax: Softmax, e_pieces: tuple[Piece, ...]) -> Loop:
    """O in the element type, and lse."""
    step: list[Stmt] = []
    for p in e_pieces:
        o = accumulator(p)
        final = Tile(f"{o.name}_elem", o.axes, "elem")
        step += [
            _load(p, ROWS_INSIDE),
            Map(final, tile(o.name)),
            Store("o", (*IN_ROW, index(p.name)), final, columns_inside(p, ROWS_INSIDE)),
        ]
    step += [
        *(loaded(name, ROWS_INSIDE) for name in STATISTICS),
        *softmax.statistics(),
        *softmax.stores(ROWS_INSIDE),
    ]
    return every_tile(QUERIES, (), step, "q_tile", "the results")


def _guard(p: Piece, rows: Expr | None) -> Expr | None:
    return columns_inside(p, *([] if rows is None else [rows]))


def _load(p: Piece, rows: Expr | None) -> Load:
    return Load(accumulator(p), "O", (*IN_ROW, index(p.name)), _guard(p, rows))


def _store(p: Piece, rows: Expr | None) -> Store:
    return Store("O", (*IN_ROW, index(p.name)), accumulator(p), _guard(p, rows))
