"""Operators as Triton text, a row each; ``{0}``, ``{1}`` … stand for the arguments' texts.

An infix operator is written as in the language. ``//`` and ``%`` mean something else there: their rows have
names of their own (``arithmetic``).
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr.ops import OPS

#: How tightly texts bind: names and calls, what a method or a subscript follows, signs, the infix operators.
ATOM, POSTFIX, UNARY, PRODUCT, SUM, SHIFT, AND, OR = 100, 90, 50, 40, 30, 25, 20, 10


@dataclass(frozen=True)
class Row:
    """An operator's text and how tightly it binds. ``ptx``: inline assembly of NVIDIA GPUs, an approximation
    good enough for 16-bit elements; ``text`` runs elsewhere."""

    text: str
    binds: int = ATOM
    ptx: str | None = None
    least: int | None = None  # what the left argument of an infix must bind tighter than

    @property
    def left(self) -> int:
        """Comparisons do not chain, the other infix operators associate to the left."""
        return self.least if self.least is not None else self.binds - (self.binds >= OR)


TEXTS: dict[str, Row] = {
    **{
        op.name: Row(f"{{0}} {op.symbol} {{1}}", op.precedence)
        for op in OPS.values()
        if op.symbol and op.name not in ("floordiv", "mod")
    },
    "quotient": Row("{0} // {1}", PRODUCT),
    "remainder": Row("{0} % {1}", PRODUCT),
    "quotient_up": Row("tl.cdiv({0}, {1})"),
    "low_bits": Row("{0} & {1}", AND, least=SUM),
    "high_bits": Row("{0} >> {1}", SHIFT, least=SUM),
    "wide_value": Row("({0}).to(tl.int64)"),  # of what is never a plain number
    "neg": Row("-{0}", UNARY),
    "not": Row("~{0}", UNARY),
    "bit_not": Row("~{0}", UNARY),
    "where": Row("tl.where({0}, {1}, {2})"),
    "min": Row("tl.minimum({0}, {1})"),
    "max": Row("tl.maximum({0}, {1})"),
    "abs": Row("tl.abs({0})"),
    "exp": Row("tl.exp({0})"),
    "exp2": Row("tl.exp2({0})"),
    "log": Row("tl.log({0})"),
    "log2": Row("tl.log2({0})"),
    "sqrt": Row("tl.sqrt({0})"),
    "sin": Row("tl.sin({0})"),
    "cos": Row("tl.cos({0})"),
    "tanh": Row(
        "1.0 - 2.0 / (1.0 + tl.exp2(2.8853900817779268 * {0}))",
        SUM,
        'tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [{0}], tl.float32, True, 1)',
    ),
    "sigmoid": Row("1.0 / (1.0 + tl.exp2(-1.4426950408889634 * {0}))", PRODUCT),
    "floor": Row("tl.floor({0}).to(tl.int32)"),
    "int": Row("({0}).to(tl.int32)"),
    "float": Row("({0}).to(tl.float32)"),
    "wide": Row("({0}).to(tl.int64)"),
    "narrow": Row("({0}).to(tl.int32)"),
}
