"""Expressions of the language -> expressions that Triton computes: what differs is written out.

Triton's ``//`` and ``%`` truncate where the language floors: ``floordiv``, ``mod`` and ``cdiv`` become
``quotient``, ``remainder`` and ``quotient_up``, corrected unless the operands are proven non-negative. Ints
that 32 bits might not hold are computed in 64 (``expr.widths``). An operator on literals becomes a literal:
its text would be Python's arithmetic, not Triton's.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr import algebra as al
from flashgen.expr.extent import INT32, INT64, within
from flashgen.expr.nodes import Call, Const, Expr, integer, rewrite
from flashgen.expr.ops import OPS
from flashgen.expr.widths import is_wide, widened

from .facts import Facts

#: Division of what is not negative, where rounding to zero and rounding down are one.
TRUNCATING = {"floordiv": "quotient", "mod": "remainder", "cdiv": "quotient_up"}


@dataclass(frozen=True)
class Arithmetic:
    """Lowers expressions over the names of ``facts``."""

    facts: Facts

    def lowered(self, e: Expr) -> Expr:
        """``e`` in operators that Triton has."""
        return self._lowered(widened(rewrite(e, folded), self.facts.extents))

    def _lowered(self, e: Expr, clamped: bool = False) -> Expr:
        """``clamped``: the value is used as max(value, something not negative)."""
        if not isinstance(e, Call):
            return e
        if e.op in TRUNCATING:
            return self._division(e, clamped)
        if e.op == "max" and e.type == "int":
            clamped = clamped or any(self.facts.non_negative(a) for a in e.args)
        passes = {"where": (False, clamped, clamped)}.get(e.op, (clamped,) * len(e.args))
        if e.op not in ("where", "min", "max", "wide", "narrow"):
            passes = (False,) * len(e.args)
        parts = zip(e.args, passes, strict=True)
        return Call(e.op, tuple(self._lowered(a, held) for a, held in parts), e.type)

    def _division(self, e: Call, clamped: bool) -> Expr:
        """``//``, ``%`` and ``cdiv``, rounded towards minus infinity.

        Below zero truncating differs; it never turns a negative quotient into a positive one, so under
        ``max(..., 0)`` nothing needs correcting. For a power of two the shift and the bit mask floor.
        """
        a, b = e.args
        plain = self.facts.non_negative(b) and self.facts.non_negative(a)
        n = al.constant(b)
        top, by = self._lowered(a), self._lowered(b)
        if plain or (clamped and e.op != "mod" and self.facts.non_negative(b)):
            return Call(TRUNCATING[e.op], (top, by), "int")
        if e.op == "cdiv":
            up = al.sub(al.add(a, b), integer(1))
            return self._division(Call("floordiv", (up, b), "int"), clamped)
        if n is not None and n > 0 and n & (n - 1) == 0:
            if e.op == "mod":
                return Call("low_bits", (top, integer(n - 1)), "int")
            return Call("high_bits", (top, integer(n.bit_length() - 1)), "int")
        rest = Call("remainder", (top, by), "int")
        if n is not None and n > 0 and e.op == "floordiv" and not self._holds_less(a, n):
            below = Call("lt", (rest, integer(0)), "bool")
            less = Call("where", (below, integer(1), integer(0)), "int")
            return Call("sub", (Call("quotient", (top, by), "int"), less), "int")
        mod = Call("remainder", (Call("add", (rest, by), "int"), by), "int")
        if e.op == "mod":
            return mod
        return Call("quotient", (Call("sub", (top, mod), "int"), by), "int")

    def _holds_less(self, e: Expr, n: int) -> bool:
        """Whether the bits of ``e`` also hold ``e - n``."""
        low, high = self.facts.extents.extent(e)
        return within((low - n, high), INT64 if is_wide(e, self.facts.extents) else INT32)


def folded(e: Expr) -> Expr | None:
    """An operator on literals as a literal."""
    if not isinstance(e, Call) or not all(isinstance(a, Const) for a in e.args):
        return None
    try:
        value = OPS[e.op].python(*(a.value for a in e.args if isinstance(a, Const)))
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    return Const(value, e.type)
