"""Softmax, online: FlashAttention-2, Algorithm 1, lines 8 to 10, and Algorithm 2, lines 4, 11 and 13 to 15.

    m = max(m, rowmax(S)),  P = exp(S - m),  l = alpha l + rowsum(P),  O = diag(alpha) O + P V
    with alpha = exp(m_old - m), and at last O = diag(l)^-1 O,  lse = m + log(l)
    backward: P = exp(S - lse),  dS = P * (dP - delta)

The paper's line 10 inverts the rescale of O by mistake. Inside, exponents are to base 2: the logit is
``t = log2(e) * score``, so that p = exp2(t - m); see ``units``. Where the score is the plain scaled dot, the
row maximum is taken before scaling (the scale is known positive) and the scale joins the exponent.
"""

from __future__ import annotations

from flashgen.expr.nodes import Call, Expr, real, substitute
from flashgen.expr.terms import (
    LOG2_E,
    MINUS_INF,
    call,
    is_minus_inf,
    may_be_minus_inf,
    multiple_of,
    scaled,
    tile,
)
from flashgen.ir.program import Load, Map, Reduce, Stmt, Store

from . import lse
from .function import Logit, Noted, P, Products, RowFunction, S, Sources, Step
from .statistics import loaded, row, stored
from .units import Units


class Softmax(RowFunction):
    """``m`` and ``l`` are carried; ``lse`` is left, in two parts where a score may be large."""

    carried = ("l", "m")
    prepares = "delta"
    weights_past_the_end = False  # lse is inf there

    @property
    def units(self) -> Units:
        """Of exponents."""
        return Units.of(self.ir)

    @property
    def left(self) -> tuple[str, ...]:
        return lse.parts(self.ir)

    @property
    def saved(self) -> tuple[str, ...]:
        return ("o", *self.left)

    @property
    def workspaces(self) -> tuple[str, ...]:
        return ("delta", lse.known(self.ir)[0])

    def logit(self, score: Expr) -> Logit:
        dot = call("mul", tile("s"), real(self.ir.scale))
        value = self.units.logit(substitute(score, {"s": dot}))
        factor = None if self.units.pairs else multiple_of(value, "s")
        return Logit(value, factor, may_be_minus_inf(score))

    def start(self, values: Sources) -> list[Stmt]:
        """Of nothing, or of the sink alone, whose weight is exp2(m - m) = 1."""
        if self.ir.sink is None:
            return [Map(row("m"), MINUS_INF), Map(row("l"), real(0.0))]
        weight = call("where", is_minus_inf(tile("m")), real(0.0), real(1.0))
        unit = "" if self.units.rows else ", in base 2"
        note = f"the sink{unit}: a logit without a key"
        return [Map(row("m"), self.sink_logit(values), note), Map(row("l"), weight)]

    def sink_logit(self, values: Sources) -> Expr:
        """The sink's logit, in the units of rows."""
        assert self.ir.sink is not None
        sink = values.load_reads(self.ir.sink)
        return values.hoist(scaled(sink) if self.units.rows else scaled(sink, LOG2_E))

    def step(self, t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> Step:
        s = tile("s")
        out: list[Stmt] = []
        if t.factor is None:
            out.append(Map(S, t.value, f"score{self.units.named}"))
        if visible is not None:
            out.append(Map(S, call("where", visible, s, MINUS_INF), "hidden pairs"))
        factor = real(t.factor) if t.factor not in (None, 1.0) else None
        row_max: Expr = tile("s_max")
        if factor is not None:
            row_max = call("mul", row_max, factor)
        out.append(Reduce(row("s_max"), S, "k", "max"))
        may_be_empty = rows_may_be_empty or t.may_be_minus_inf
        grown, m_ref = self._grown(self.units.of_row(row_max), may_be_empty)
        exponent = self.units.exponent(s if factor is None else call("mul", s, factor), m_ref, may_be_empty)
        out += [
            *grown,
            Map(P, call("exp2", exponent), "P = exp(S - m)"),
            self._alpha(m_ref),
            Reduce(row("p_sum"), P, "k", "sum"),
            self._row_sum("p_sum"),
        ]
        return Step(tuple(out), (Map(row("m"), tile("m_new")),))

    def _grown(self, largest: Expr, may_be_empty: bool) -> tuple[list[Stmt], Expr]:
        """The maximum with one more, and what exponents are taken from."""
        m_new = tile("m_new")
        out: list[Stmt] = [Map(row("m_new"), call("max", tile("m"), largest), "running row maximum")]
        if not may_be_empty:
            return out, m_new
        unseen = call("where", is_minus_inf(m_new), real(0.0), m_new)
        note = "a row that has seen nothing yet: exp2(-inf - 0) = 0"
        return [*out, Map(row("m_ref"), unseen, note)], tile("m_ref")

    def _alpha(self, m_ref: Expr) -> Map:
        note = "rescale of what was summed so far"
        return Map(row("alpha"), call("exp2", self.units.between(tile("m"), m_ref)), note)

    def _row_sum(self, more: str) -> Map:
        rescaled = call("mul", tile("l"), tile("alpha"))
        return Map(row("l"), call("add", rescaled, tile(more)), "running row sum")

    def rescaled(self, o: Expr) -> Noted:
        return Noted(call("mul", o, tile("alpha")), "diag(alpha) O")

    def finish(self) -> list[Stmt]:
        return [self.inverse(), *self.statistics()]

    def inverse(self) -> Map:
        """1 / l, and 1 where l = 0."""
        l_safe = call("where", Call("eq", (tile("l"), real(0.0)), "bool"), real(1.0), tile("l"))
        return Map(row("l_inv"), call("div", real(1.0), l_safe), "a row that saw nothing: l = 0, O = 0")

    def statistics(self) -> list[Stmt]:
        """``lse`` and its parts, of ``m`` and ``l``."""
        return lse.made(self.ir)

    def scaled(self, o: Expr) -> Noted:
        return Noted(call("mul", o, tile("l_inv")), "O = diag(l)^-1 O")

    def stores(self, rows: Expr) -> list[Store]:
        return [stored(name, rows, f"{name}_q") for name in self.left]

    def prepare(self, products: Products, through: str | None, rows: Expr) -> list[Stmt]:
        if through not in (None, "lse"):
            return super().prepare(products, through, rows)
        return lse.prepared(self.ir, products, through is not None, rows)

    def prepared(self, guard: Expr | None, sink: bool = False) -> list[Load]:
        own = [lse.statistic("lse", guard)] if sink and lse.sink_alone(self.ir) else []
        return [*self.for_weights(guard), *own, *self.for_slope(guard)]

    def for_weights(self, guard: Expr | None) -> list[Load]:
        return [lse.statistic(name, guard) for name in lse.known(self.ir)]

    def for_slope(self, guard: Expr | None) -> list[Load]:
        return [loaded("delta", guard)]

    def weight(self, t: Expr) -> Noted:
        return Noted(lse.probability(self.ir, t), "P = exp(S - lse)")

    def slope(self, dp: Expr) -> Noted:
        note = "dS = P * (Z * dP - delta)" if self.ir.dropout else "dS = P * (dP - delta)"
        return Noted(call("mul", tile("p"), call("sub", dp, tile("delta"))), note)

    def through_sink(self, values: Sources) -> Noted:
        """A sink is a key of weight exp(sink - lse) and no value: dP = 0."""
        lost = call("mul", lse.sink_share(self.ir, self.sink_logit(values)), tile("delta"))
        return Noted(lost, "through the sink: dsink = -exp(sink - lse) * delta")

    def merge(self) -> tuple[Step, Expr | None]:
        """A partial result is a key of the logit lse and the value O."""
        part = tile("lse_part")
        grown, m_ref = self._grown(part if self.units.rows else scaled(part, LOG2_E), may_be_empty=True)
        exponent = self.units.between(part, m_ref) if self.units.rows else self._base_2(part, m_ref)
        if "lse_lo" in self.left:
            exponent = call("add", exponent, tile("lse_lo_part"))
        weight = Map(row("w"), call("exp2", exponent), "the weight of this part")
        out = (*grown, weight, self._alpha(m_ref), self._row_sum("w"))
        return Step(out, (Map(row("m"), tile("m_new")),)), tile("w")

    @staticmethod
    def _base_2(part: Expr, m_ref: Expr) -> Expr:
        return call("sub", scaled(part, LOG2_E), m_ref)
