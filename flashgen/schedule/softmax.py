"""Online softmax over one tile of scores, in base 2: FlashAttention-2, Algorithm 1, lines 8 to 10.

The logit is ``t = log2(e) * score``, so that p = exp2(t - m). Where the score is the plain scaled dot,
the row maximum is taken before scaling (the scale is known positive) and the scale joins the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr.nodes import Call, Expr, real, substitute
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Map, Reduce, Stmt, Tile

from .axes import ROW
from .terms import LN_2, LOG2_E, MINUS_INF, call, is_minus_inf, may_be_minus_inf, multiple_of, scaled, tile
from .values import Values

S = Tile("s", ("q", "k"), "acc")


@dataclass(frozen=True)
class Logit:
    """``t`` in base 2 as an expression of the dot ``s``; ``factor`` where it is just ``s * factor``."""

    value: Expr
    factor: float | None
    may_be_minus_inf: bool


def logit(ir: AttentionIR, score: Expr) -> Logit:
    """The base-2 logit of a score (whose reads are already values)."""
    dot = call("mul", tile("s"), real(ir.scale))
    value = scaled(substitute(score, {"s": dot}), LOG2_E)
    return Logit(value, multiple_of(value, "s"), may_be_minus_inf(score))


def first_sums(ir: AttentionIR, values: Values) -> list[Stmt]:
    """``m`` and ``l`` before any key: of nothing, or of the sink alone, whose weight is exp2(m - m) = 1."""
    m, row_sum = Tile("m", ROW, "acc"), Tile("l", ROW, "acc")
    if ir.sink is None:
        return [Map(m, MINUS_INF), Map(row_sum, real(0.0))]
    logit = values.hoist(scaled(values.load_reads(ir.sink), LOG2_E))
    weight = call("where", is_minus_inf(tile("m")), real(0.0), real(1.0))
    return [Map(m, logit, "the sink, in base 2: a logit without a key"), Map(row_sum, weight)]


def online_softmax(t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> list[Stmt]:
    """From the tile ``s`` to ``p``, ``alpha`` and the updated row sums ``l``; ``m_new`` is left for last."""
    s, m, m_new = tile("s"), tile("m"), tile("m_new")
    out: list[Stmt] = []
    if t.factor is None:
        out.append(Map(S, t.value, "score, in base 2"))
    if visible is not None:
        out.append(Map(S, call("where", visible, s, MINUS_INF), "hidden pairs"))
    factor = real(t.factor) if t.factor not in (None, 1.0) else None
    row_max: Expr = tile("s_max")
    if factor is not None:
        row_max = call("mul", row_max, factor)
    out += [
        Reduce(Tile("s_max", ROW, "acc"), S, "k", "max"),
        Map(Tile("m_new", ROW, "acc"), call("max", m, row_max), "running row maximum"),
    ]
    m_ref = m_new
    if rows_may_be_empty or t.may_be_minus_inf:
        m_ref = tile("m_ref")
        unseen = call("where", is_minus_inf(m_new), real(0.0), m_new)
        out.append(
            Map(Tile("m_ref", ROW, "acc"), unseen, "a row that has seen nothing yet: exp2(-inf - 0) = 0")
        )
    t_value = s if factor is None else call("mul", s, factor)
    out += [
        Map(Tile("p", ("q", "k"), "acc"), call("exp2", call("sub", t_value, m_ref)), "P = exp(S - m)"),
        Map(
            Tile("alpha", ROW, "acc"),
            call("exp2", call("sub", m, m_ref)),
            "rescale of what was summed so far",
        ),
        Reduce(Tile("p_sum", ROW, "acc"), Tile("p", ("q", "k"), "acc"), "k", "sum"),
        Map(
            Tile("l", ROW, "acc"),
            call("add", call("mul", tile("l"), tile("alpha")), tile("p_sum")),
            "running row sum",
        ),
    ]
    return out


def safe_inverse() -> Map:
    """1 / l, and 1 where l = 0."""
    l_safe = call("where", Call("eq", (tile("l"), real(0.0)), "bool"), real(1.0), tile("l"))
    return Map(
        Tile("l_inv", ROW, "acc"), call("div", real(1.0), l_safe), "a row that saw nothing: l = 0, O = 0"
    )


def row_lse() -> Map:
    """lse of m and l, in natural units; -inf for a row that saw nothing."""
    log_sum = call("add", tile("m"), call("log2", tile("l")))
    return Map(Tile("lse_q", ROW, "acc"), call("mul", log_sum, real(LN_2)), "lse = m + log(l), to base e")
