"""Expressions as Triton text: minimal parentheses, broadcast by the names of axes.

What an operator looks like stands in the table ``expr.ops`` (column ``triton``). Two things need more
than the table. Triton's ``//`` and ``%`` truncate where the language floors, so they are corrected
unless the operands are proven non-negative. And tiles in ``elem`` precision are widened to fp32 first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isinf, isnan
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.limits import INT_RANGE
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, rewrite
from flashgen.expr.ops import OPS
from flashgen.plan.plan import Plan

from .facts import Facts

ATOM, POSTFIX, POWER, UNARY, PRODUCT, SUM, SHIFT, AND = 100, 90, 60, 50, 40, 30, 25, 20

#: ``ptx`` texts are inline assembly of NVIDIA GPUs: approximations good enough for 16-bit elements.
Dialect = Literal["exact", "ptx"]


def dialect(plan: Plan) -> Dialect:
    """Which texts of operators suit a plan's dtype and target."""
    return "ptx" if plan.inline_ptx and plan.dtype in ("fp16", "bf16") else "exact"


INT_MAX = 2**31 - 1
#: Text and how tightly it binds.
Piece = tuple[str, int]


def subscript(text: str, own: tuple[str, ...], axes: tuple[str, ...]) -> str:
    """A tile with axes ``own`` as it stands in an expression over ``axes``: ``m`` -> ``m[:, None]``."""
    if not own:
        return text
    missing = [a for a in own if a not in axes]
    if missing:
        raise AssertionError(f"tile {text} has axes {own}, used over {axes}")
    ordered = tuple(a for a in axes if a in own)
    if ordered != own:
        assert len(own) == 2, "only matrices are transposed"
        text = f"tl.trans({text})"
    if ordered == axes:
        return text
    return f"{text}[{', '.join(':' if a in own else 'None' for a in axes)}]"


@dataclass(frozen=True)
class Printer:
    """Prints expressions over the names of ``facts``.

    ``widen`` says that ``elem`` is narrower than fp32; ``dialect`` is
    which text of an operator to take.
    """

    facts: Facts
    widen: bool = True
    dialect: Dialect = "exact"

    def text(self, e: Expr, axes: tuple[str, ...] = (), tighter_than: int = 0) -> str:
        """``e`` over ``axes``, in parentheses where it binds no tighter than asked."""
        return wrap(self._print(rewrite(e, folded), axes), tighter_than)

    def _print(self, e: Expr, axes: tuple[str, ...], clamped: bool = False) -> Piece:
        """``clamped``: the value is used as max(value, something not negative)."""
        if isinstance(e, Const):
            return constant(e)
        if isinstance(e, Var):
            return self._var(e, axes), ATOM
        assert isinstance(e, Call), "inputs are read by loads"
        if e.op in ("floordiv", "mod", "cdiv"):
            return self._division(e, axes, clamped)
        if e.op in ("min", "max", "where"):
            return self._choice(e, axes, clamped)
        if e.op == "float" and not self.facts.is_tile(e):
            return f"tl.cast({self.text(e.args[0])}, tl.float32)", ATOM
        if e.op == "add" and isinstance(e.args[1], Const) and e.args[1].value < 0:
            return self._print(Call("sub", (e.args[0], Const(-e.args[1].value, e.type)), e.type), axes)
        if e.op in ("add", "sub") and e.type == "int":
            return fill(OPS[e.op].triton, [self._addend(a, axes) for a in e.args], OPS[e.op].precedence)
        op = OPS[e.op]
        template = (op.ptx if self.dialect == "ptx" else None) or op.triton
        precedence = op.precedence if template == op.triton else ATOM
        return fill(template, [self._print(a, axes) for a in e.args], precedence)

    def _addend(self, e: Expr, axes: tuple[str, ...]) -> Piece:
        """A term of a sum of ints. A literal beyond every length means no bound; the sum must not wrap."""
        if isinstance(e, Const) and abs(e.value) >= INT_RANGE:
            return held(INT_RANGE if e.value > 0 else -INT_RANGE), POWER if e.value > 0 else UNARY
        return self._print(e, axes)

    def _var(self, e: Var, axes: tuple[str, ...]) -> str:
        tile = self.facts.tiles.get(e.name)
        if tile is None:
            return e.name
        text = subscript(self.facts.inline.get(e.name, e.name), tile.axes, axes)
        return f"{text}.to(tl.float32)" if tile.dtype == "elem" and self.widen else text

    def _choice(self, e: Call, axes: tuple[str, ...], clamped: bool) -> Piece:
        if e.op == "max" and e.type == "int":
            clamped = clamped or any(self.facts.non_negative(a) for a in e.args)
        skip = 1 if e.op == "where" else 0
        parts = [self._print(a, axes, clamped and i >= skip) for i, a in enumerate(e.args)]
        return fill(OPS[e.op].triton, parts, ATOM)

    def _division(self, e: Call, axes: tuple[str, ...], clamped: bool) -> Piece:
        """``//``, ``%`` and ``cdiv``, rounded towards minus infinity.

        Below zero truncating differs; it never turns a negative quotient into a positive one, so under
        ``max(..., 0)`` nothing needs correcting. For a power of two the shift and the bit mask floor.
        """
        a, b = e.args
        plain = self.facts.non_negative(b) and self.facts.non_negative(a)
        n = al.constant(b)
        if plain or (clamped and e.op != "mod" and self.facts.non_negative(b)):
            parts = [self._print(x, axes) for x in e.args]
            return fill(OPS[e.op].triton, parts, OPS[e.op].precedence)
        if e.op == "cdiv":
            up = al.sub(al.add(a, b), integer(1))
            return self._division(Call("floordiv", (up, b), "int"), axes, clamped)
        if n is not None and n > 0 and n & (n - 1) == 0:
            if e.op == "mod":
                return f"{self.text(a, axes, SUM)} & {n - 1}", AND
            return f"{self.text(a, axes, SUM)} >> {n.bit_length() - 1}", SHIFT
        top, by = self.text(a, axes, PRODUCT - 1), self.text(b, axes, PRODUCT)
        mod = f"({top} % {by} + {self.text(b, axes, SUM)}) % {by}"
        if e.op == "mod":
            return mod, PRODUCT
        return f"({self.text(a, axes, SUM - 1)} - {mod}) // {by}", PRODUCT


def folded(e: Expr) -> Expr | None:
    """An operator on literals as a literal: its text would be Python's arithmetic, not Triton's."""
    if not isinstance(e, Call) or not all(isinstance(a, Const) for a in e.args):
        return None
    try:
        value = OPS[e.op].python(*(a.value for a in e.args if isinstance(a, Const)))
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    return Const(value, e.type)


def constant(e: Const) -> Piece:
    """A literal; fp32 where it meets fp32 tiles."""
    value = e.value
    if e.type == "bool":
        return str(bool(value)), ATOM
    if e.type == "int":
        value = max(-INT_MAX, min(int(value), INT_MAX))  # beyond it compares alike with every int
        return str(value), ATOM if value >= 0 else UNARY
    value = float(value)
    if isinf(value) or isnan(value):
        return f'float("{value}")', ATOM
    return repr(value), ATOM if str(value)[0] != "-" else UNARY


def held(n: int) -> str:
    """A power of two, or its negative, as it is written."""
    text = f"2**{abs(n).bit_length() - 1}"
    return text if n > 0 else f"-({text})"


def wrap(piece: Piece, tighter_than: int) -> str:
    """The text of ``piece``, in parentheses where it binds no tighter than asked."""
    text, precedence = piece
    return text if precedence > tighter_than else f"({text})"


_HOLE = re.compile(r"\(\{(\d)\}\)(?=\.)|\{(\d)\}")
_INFIX = re.compile(r"\{0\} (\S+) \{1\}")


def fill(template: str, parts: list[Piece], precedence: int) -> Piece:
    """An operator's text with its arguments in place, in parentheses only where these bind less."""
    if _INFIX.fullmatch(template):
        # Comparisons do not chain, the others associate to the left.
        left = precedence if precedence < 10 else precedence - 1
        text = template.format(wrap(parts[0], left), wrap(parts[1], precedence))
        return text, precedence

    def hole(m: re.Match[str]) -> str:
        if m[1] is not None:  # ({0}).method: parentheses are needed by all but names and calls
            part = parts[int(m[1])]
            return part[0] if part[1] >= POSTFIX and not part[0][0].isdigit() else f"({part[0]})"
        before, after = template[: m.start()].rstrip(), template[m.end() :].lstrip()
        alone = before[-1:] in ("(", "[", ",") and after[:1] in (")", "]", ",")
        return wrap(parts[int(m[2])], 0 if alone else UNARY - 1 if template == "-{0}" else UNARY)

    return _HOLE.sub(hole, template), precedence
