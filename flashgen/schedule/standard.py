"""Standard attention (Algorithm 0 of FlashAttention): S and P go through HBM.

Three kernels: S = mask(score(Q K^T)); P = softmax(S); O = P V. It is the yardstick of the papers' tables, not
a way to be fast. S is stored in the accumulator's type, so that logits beyond fp16's range survive, P in the
element type.

The softmax makes two passes over each row: maximum and sum at once, then the probabilities ("online"
softmax, Milakov and Gimelshein 2018); or three, as one would write it down: maximum, sum, probabilities.
"""

from __future__ import annotations

from typing import Literal

from flashgen.expr.nodes import Expr, Var, integer, real
from flashgen.expr.terms import MINUS_INF, call, index, is_minus_inf, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Axis,
    Kernel,
    Load,
    Map,
    Program,
    Reduce,
    Stmt,
    Store,
    Tensor,
    Tile,
)
from flashgen.rows import softmax_of
from flashgen.rows.function import P, S
from flashgen.rows.softmax import Softmax
from flashgen.rows.statistics import IN_ROW, row

from . import dropout
from .axes import (
    BLOCK_M,
    BLOCK_N,
    HQ,
    KEYS_INSIDE,
    NK,
    NQ,
    PAIRS_INSIDE,
    ROWS_INSIDE,
    B,
    grid,
)
from .bounds import KEYS, mask_bounds
from .flash2 import (
    accumulator,
    columns_inside,
    load_q,
    program_scalars,
    scores,
    tensors,
    tile_rows,
    weighted_values,
)
from .loops import every_tile, tile_start
from .pieces import Piece, pieces
from .scrub import scrubbed
from .values import Values, needed_by

P_ELEM = Tile("p_elem", ("q", "k"), "elem")
IN_MATRIX = (*IN_ROW, index("k"))
LOAD_S = Load(S, "S", IN_MATRIX, PAIRS_INSIDE, float("-inf"))
S_MAX = Reduce(row("s_max"), S, "k", "max")
P_SUM = Reduce(row("p_sum"), P, "k", "sum")
ORDINALS = {2: "second", 3: "third"}


def standard(ir: AttentionIR, passes: Literal[2, 3] = 2) -> Program:
    """S, P and O by one kernel each; ``S`` holds logits, -inf where hidden. ``passes``: of the softmax over
    each row of S. Raises ``PlanError`` for another row function."""
    softmax = softmax_of(ir, "standard")
    d_pieces, e_pieces = pieces(ir.d_qk, "d"), pieces(ir.d_v, "e")
    square = (B, HQ, NQ, NK)
    return Program(
        ir.name,
        "standard" if passes == 2 else "standard_three_pass",
        tensors(ir, Tensor("S", square, "acc", "workspace"), Tensor("P", square, "elem", "workspace")),
        (_scores_kernel(softmax, d_pieces), _softmax_kernel(softmax, passes), _values_kernel(ir, e_pieces)),
    )


def _kernel(
    ir: AttentionIR, part: str, note: str, body: list[Stmt], cut: tuple[Piece, ...], *keys: str
) -> Kernel:
    columns = (Axis(p.name, integer(p.size)) for p in cut)
    axes = (Axis("q", BLOCK_M), Axis("k", BLOCK_N), *columns)
    return Kernel(f"{ir.name}_{part}", grid("b", "h", "q_tile", *keys), axes, tuple(body), note)


def _scores_kernel(softmax: Softmax, d_pieces: tuple[Piece, ...]) -> Kernel:
    ir, values = softmax.ir, Values(softmax.ir)
    t = softmax.logit(values.load_reads(ir.score)).hoisted(values).value
    mask = None if ir.mask is None else values.hoist(values.load_reads(ir.mask))
    body: list[Stmt] = [
        *program_scalars(),
        *tile_rows(d_pieces),
        *(load_q(p) for p in d_pieces),
        *values.prologue,
        *tile_start(KEYS, "k_tile"),
        *scores(ir, d_pieces, KEYS_INSIDE),
        *values.in_loop(t, *(() if mask is None else (mask,)), bounds=KEYS_INSIDE),
        Map(S, t, f"score{softmax.units.named}"),
    ]
    if mask is not None:
        body.append(Map(S, call("where", mask, tile("s"), MINUS_INF), "hidden pairs"))
    body.append(Store("S", IN_MATRIX, S, PAIRS_INSIDE))
    return _kernel(ir, "scores", "S = Q K^T, scored and masked, to HBM.", body, d_pieces, "k_tile")


def _softmax_kernel(softmax: Softmax, passes: Literal[2, 3]) -> Kernel:
    ir, values = softmax.ir, Values(softmax.ir)
    before = softmax.start(values)
    probabilities: list[Stmt] = [
        LOAD_S,
        *dropout.drawn(ir, ("q", "k")),
        Map(P_ELEM, dropout.kept(ir, call("mul", _weight(softmax), tile("l_inv"))), "P = softmax(S)"),
        Store("P", IN_MATRIX, P_ELEM, PAIRS_INSIDE),
    ]
    body: list[Stmt] = [
        *program_scalars(),
        *tile_rows(),
        *dropout.seed(ir),
        *dropout.head(ir),
        *values.prologue,
        *before,
        *(_max_and_sum(softmax) if passes == 2 else _max_then_sum(softmax)),
        *softmax.finish(),
        *softmax.stores(ROWS_INSIDE),
        every_tile(KEYS, (), probabilities, note=f"{ORDINALS[passes]} pass: probabilities"),
    ]
    return _kernel(ir, "softmax", "P = softmax(S) and lse, S and P in HBM.", body, ())


def _weight(softmax: Softmax) -> Expr:
    """exp(S - m)"""
    return call("exp2", softmax.units.exponent(tile("s"), tile("m_ref")))


def _row(name: str, value: Expr, note: str = "") -> Map:
    return Map(row(name), value, note)


def _reference(m: Var) -> Map:
    """``m``, and 0 where a row sees nothing: exp2(-inf - 0) = 0."""
    return _row("m_ref", call("where", is_minus_inf(m), real(0.0), m))


def _max_and_sum(softmax: Softmax) -> list[Stmt]:
    """m and l in one pass: l is rescaled whenever m grows."""
    m, row_sum, units = tile("m"), tile("l"), softmax.units
    rescaled = call("mul", row_sum, call("exp2", units.between(m, tile("m_ref"))))
    both: list[Stmt] = [
        LOAD_S,
        S_MAX,
        _row("m_new", call("max", m, units.of_row(tile("s_max")))),
        _reference(tile("m_new")),
        Map(P, _weight(softmax)),
        P_SUM,
        _row("l", call("add", rescaled, tile("p_sum"))),
        _row("m", tile("m_new")),
    ]
    return [every_tile(KEYS, ("l", "m"), both, note="first pass: row maximum and row sum"), _reference(m)]


def _max_then_sum(softmax: Softmax) -> list[Stmt]:
    """m in one pass, l in the next: nothing is rescaled but what a sink has put there."""
    m, row_sum, units = tile("m"), tile("l"), softmax.units
    largest: list[Stmt] = [LOAD_S, S_MAX, _row("m", call("max", m, units.of_row(tile("s_max"))))]
    sums: list[Stmt] = [
        LOAD_S,
        Map(P, _weight(softmax)),
        P_SUM,
        _row("l", call("add", row_sum, tile("p_sum"))),
    ]
    weight = call("mul", row_sum, call("exp2", units.between(tile("m_sink"), tile("m_ref"))))
    return [
        *([] if softmax.ir.sink is None else [_row("m_sink", m)]),
        every_tile(KEYS, ("m",), largest, note="first pass: row maximum"),
        _reference(m),
        *([] if softmax.ir.sink is None else [_row("l", weight, "the sink's, under the row's maximum")]),
        every_tile(KEYS, ("l",), sums, note="second pass: row sum"),
    ]


def _values_kernel(ir: AttentionIR, e_pieces: tuple[Piece, ...]) -> Kernel:
    values = Values(ir)
    bounds = mask_bounds(None if ir.mask is None else values.load_uniform(ir.mask))
    step: list[Stmt] = [
        Load(P_ELEM, "P", IN_MATRIX, PAIRS_INSIDE),
        *weighted_values(ir, e_pieces, bounds.inside, P_ELEM),
    ]
    step = step if bounds.clean else scrubbed(step)
    body: list[Stmt] = [*program_scalars(), *tile_rows(e_pieces)]
    body += needed_by(bounds.inside, [*values.prologue, *bounds.scalars])
    body += [Map(accumulator(p), real(0.0)) for p in e_pieces]
    body.append(every_tile(KEYS, tuple(accumulator(p).name for p in e_pieces), step))
    for p in e_pieces:
        o = accumulator(p)
        final = Tile(f"{o.name}_elem", o.axes, "elem")
        body += [
            Map(final, tile(o.name)),
            Store("o", (*IN_ROW, index(p.name)), final, columns_inside(p, ROWS_INSIDE)),
        ]
    return _kernel(ir, "values", "O = P V.", body, e_pieces)
