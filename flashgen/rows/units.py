"""Units of softmax's exponents: base 2, so that p = exp2(t - m), or natural where a score may be large.

Then it stays as it is until the row's maximum is off, p = exp2((t - m) * log2(e)): the difference is exact
where it matters, and no product overflows. So does the maximum where a sink may be.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr.limits import FLOAT_LIMIT
from flashgen.expr.nodes import Expr, real
from flashgen.expr.terms import LN_2, LOG2_E, call, scaled
from flashgen.ir.attention import AttentionIR


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
        """What exp2 takes of a logit and its row's reference; ``hidden``: the logit may be -inf."""
        if self.pairs:
            return self.between(t, reference)
        if not self.rows:
            return call("sub", t, reference)
        reference = scaled(reference, LOG2_E)
        if hidden:  # a sink near the least number there is must not be -inf in base 2, beside that of a pair
            reference = call("max", reference, real(-FLOAT_LIMIT))
        return call("sub", t, reference)

    def between(self, a: Expr, b: Expr) -> Expr:
        """What exp2 takes of two statistics of a row, or of a sink."""
        difference = call("sub", a, b)
        return call("mul", difference, real(LOG2_E)) if self.rows else difference

    @property
    def named(self) -> str:
        """What notes say of a score's unit."""
        return "" if self.pairs else ", in base 2"
