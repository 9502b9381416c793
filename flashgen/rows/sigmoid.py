"""Sigmoid attention (Ramapuram et al. 2024, Theory, Analysis, and Best Practices for Sigmoid Self-Attention,
arXiv:2409.04431, sections 2 and 4): each pair is weighed by itself.

    P = 1 / (1 + exp(-S)),  O = P V,  dS = P * (1 - P) * dP

Nothing is carried, nothing is normalised, and nothing is left of a row: a row that sees no key gives 0, and
partial results add up. A bias, such as the paper's -log(Nk), is part of the score. Inside, the exponent is to
base 2, with the sign folded in: P = 1 / (1 + exp2(t)), t = -log2(e) * score.
"""

from __future__ import annotations

from flashgen.expr.nodes import Expr, real, substitute
from flashgen.expr.terms import LOG2_E, call, scaled, tile
from flashgen.ir.program import Map, Stmt

from .function import Logit, Noted, P, RowFunction, S, Step

ONE = real(1.0)


class Sigmoid(RowFunction):
    """Of no state. A score that may be large stays as it is until it is whole: of large terms, each times
    log2(e), none must overflow alone."""

    def logit(self, score: Expr) -> Logit:
        value = substitute(score, {"s": call("mul", tile("s"), real(self.ir.scale))})
        return Logit(scaled(value) if self.ir.large_score else scaled(value, -LOG2_E), None, False)

    def weight(self, t: Expr) -> Noted:
        exponent = call("mul", t, real(-LOG2_E)) if self.ir.large_score else t
        return Noted(call("div", ONE, call("add", ONE, call("exp2", exponent))), "P = sigmoid(S)")

    def step(self, t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> Step:
        unit = "score" if self.ir.large_score else "-score, in base 2"
        out: list[Stmt] = [Map(S, t.value, unit)]
        p, note = self.weight(tile("s"))
        if visible is not None:
            p, note = call("where", visible, p, real(0.0)), f"{note}, 0 for hidden pairs"
        return Step((*out, Map(P, p, note)))

    def slope(self, dp: Expr) -> Noted:
        note = "dS = P * (1 - P) * (Z * dP)" if self.ir.dropout else "dS = P * (1 - P) * dP"
        return Noted(call("mul", call("mul", tile("p"), call("sub", ONE, tile("p"))), dp), note)

    def merge(self) -> tuple[Step, Expr | None]:
        return Step(()), None
