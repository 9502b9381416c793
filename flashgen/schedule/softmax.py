"""Online softmax over one tile of scores, in base 2: FlashAttention-2, Algorithm 1, lines 8 to 10.

The logit is ``t = log2(e) * score``, so that p = exp2(t - m). Where the score is the plain scaled dot,
the row maximum is taken before scaling (the scale is known positive) and the scale joins the exponent.

A score that may be large stays in natural units until the row's maximum is off, p = exp2((t - m) * log2(e)):
the difference is exact where it matters, and no product overflows. So does the maximum where a sink may be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashgen.expr.nodes import Call, Expr, real, substitute
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Map, Reduce, Stmt, Tile

from .axes import ROW
from .terms import LN_2, LOG2_E, MINUS_INF, call, is_minus_inf, may_be_minus_inf, multiple_of, scaled, tile
from .values import Values

S = Tile("s", ("q", "k"), "acc")
#: In natural units, above the number that is -inf in base 2 (fp32).
LOWEST = -2e38


@dataclass(frozen=True)
class Logit:
    """``t`` as an expression of the dot ``s``; ``factor`` where it is just ``s * factor``."""

    value: Expr
    factor: float | None
    may_be_minus_inf: bool
    units: Units

    def hoisted(self, values: Values) -> Logit:
        """The same with what does not change in the loop computed before it."""
        return replace(self, value=values.hoist(self.value))


@dataclass(frozen=True)
class Units:
    """Whether logits of pairs, and statistics of rows, are in natural units instead of in base 2."""

    pairs: bool
    rows: bool

    @classmethod
    def of(cls, ir: AttentionIR) -> Units:
        """Natural where a score may be large; a row also where its sink may be."""
        return cls(ir.large_score, ir.large_score or ir.large_sink)

    def logit(self, score: Expr) -> Expr:
        """A score in the units of pairs."""
        return scaled(score) if self.pairs else scaled(score, LOG2_E)

    def of_row(self, e: Expr) -> Expr:
        """A logit in the units of pairs as one in those of rows."""
        return scaled(e, LN_2) if self.rows and not self.pairs else e

    def exponent(self, t: Expr, reference: Expr, hidden: bool = True) -> Expr:
        """What exp2 takes of a logit and its row's reference. ``hidden``: a row may see nothing."""
        if self.pairs:
            return self.between(t, reference)
        if not self.rows:
            return call("sub", t, reference)
        # So low is only the sink of a row that sees no key: t is -inf there, and -inf - -inf no number.
        low = call("max", reference, real(LOWEST)) if hidden else reference
        return call("sub", t, scaled(low, LOG2_E))

    def between(self, a: Expr, b: Expr) -> Expr:
        """What exp2 takes of two statistics of a row, or of a sink."""
        difference = call("sub", a, b)
        return call("mul", difference, real(LOG2_E)) if self.rows else difference

    @property
    def named(self) -> str:
        """What notes say of a score's unit."""
        return "" if self.pairs else ", in base 2"


def logit(ir: AttentionIR, score: Expr) -> Logit:
    """The logit of a score (whose reads are already values)."""
    dot, units = call("mul", tile("s"), real(ir.scale)), Units.of(ir)
    value = units.logit(substitute(score, {"s": dot}))
    factor = None if units.pairs else multiple_of(value, "s")
    return Logit(value, factor, may_be_minus_inf(score), units)


def sink_logit(ir: AttentionIR, values: Values) -> Expr:
    """The sink's logit, in the units of rows."""
    assert ir.sink is not None
    sink = values.load_reads(ir.sink)
    return values.hoist(scaled(sink) if Units.of(ir).rows else scaled(sink, LOG2_E))


def first_sums(ir: AttentionIR, values: Values) -> list[Stmt]:
    """``m`` and ``l`` before any key: of nothing, or of the sink alone, whose weight is exp2(m - m) = 1."""
    m, row_sum = Tile("m", ROW, "acc"), Tile("l", ROW, "acc")
    if ir.sink is None:
        return [Map(m, MINUS_INF), Map(row_sum, real(0.0))]
    logit = sink_logit(ir, values)
    weight = call("where", is_minus_inf(tile("m")), real(0.0), real(1.0))
    unit = "" if Units.of(ir).rows else ", in base 2"
    return [Map(m, logit, f"the sink{unit}: a logit without a key"), Map(row_sum, weight)]


def online_softmax(t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> list[Stmt]:
    """From the tile ``s`` to ``p``, ``alpha`` and the updated row sums ``l``; ``m_new`` is left for last."""
    s, m, m_new = tile("s"), tile("m"), tile("m_new")
    out: list[Stmt] = []
    if t.factor is None:
        out.append(Map(S, t.value, f"score{t.units.named}"))
    if visible is not None:
        out.append(Map(S, call("where", visible, s, MINUS_INF), "hidden pairs"))
    factor = real(t.factor) if t.factor not in (None, 1.0) else None
    row_max: Expr = tile("s_max")
    if factor is not None:
        row_max = call("mul", row_max, factor)
    row_max = t.units.of_row(row_max)
    out += [
        Reduce(Tile("s_max", ROW, "acc"), S, "k", "max"),
        Map(Tile("m_new", ROW, "acc"), call("max", m, row_max), "running row maximum"),
    ]
    m_ref, hidden = m_new, rows_may_be_empty or t.may_be_minus_inf
    if hidden:
        m_ref = tile("m_ref")
        unseen = call("where", is_minus_inf(m_new), real(0.0), m_new)
        out.append(
            Map(Tile("m_ref", ROW, "acc"), unseen, "a row that has seen nothing yet: exp2(-inf - 0) = 0")
        )
    t_value = s if factor is None else call("mul", s, factor)
    out += [
        Map(
            Tile("p", ("q", "k"), "acc"),
            call("exp2", t.units.exponent(t_value, m_ref, hidden)),
            "P = exp(S - m)",
        ),
        Map(
            Tile("alpha", ROW, "acc"),
            call("exp2", t.units.between(m, m_ref)),
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
