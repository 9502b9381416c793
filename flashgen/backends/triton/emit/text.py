"""Expressions as Triton text: minimal parentheses, broadcast by the names of axes.

What an operator looks like stands in a table (``ops``). Three things need more than the table. Triton's
``//`` and ``%`` truncate where the language floors, so they are corrected unless the operands are proven
non-negative. Ints that 32 bits might not hold are computed in 64 (``expr.widths``). And tiles in ``elem``
precision are widened to fp32 first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isinf, isnan
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.extent import INT32, INT64, within
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, rewrite
from flashgen.expr.ops import OPS
from flashgen.expr.widths import is_wide, widened
from flashgen.plan.plan import Plan

from .facts import Facts
from .ops import AND, ATOM, POSTFIX, PRODUCT, SHIFT, SUM, TEXTS, UNARY

#: ``ptx`` texts are inline assembly of NVIDIA GPUs: approximations good enough for 16-bit elements.
Dialect = Literal["exact", "ptx"]


def dialect(plan: Plan) -> Dialect:
    """Which texts of operators suit a plan's dtype and target."""
    return "ptx" if plan.inline_ptx and plan.dtype in ("fp16", "bf16") else "exact"


#: What an int is converted to.
_WIDTHS = {"wide": "tl.int64", "narrow": "tl.int32"}
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
        return self._text(widened(rewrite(e, folded), self.facts.extents), axes, tighter_than)

    def _text(self, e: Expr, axes: tuple[str, ...] = (), tighter_than: int = 0) -> str:
        return wrap(self._print(e, axes), tighter_than)

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
            return f"tl.cast({self._text(e.args[0])}, tl.float32)", ATOM
        if e.op in _WIDTHS:
            part = self._print(e.args[0], axes, clamped)
            if not self.facts.is_tile(e):
                return f"tl.cast({part[0]}, {_WIDTHS[e.op]})", ATOM
            return fill(TEXTS[e.op].text, [part], ATOM)
        if e.op == "add" and isinstance(e.args[1], Const) and e.args[1].value < 0:
            return self._print(Call("sub", (e.args[0], Const(-e.args[1].value, e.type)), e.type), axes)
        row, parts = TEXTS[e.op], [self._print(a, axes) for a in e.args]
        if row.ptx is not None and self.dialect == "ptx":
            return fill(row.ptx, parts, ATOM)
        return fill(row.text, parts, row.binds)

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
        return fill(TEXTS[e.op].text, parts, ATOM)

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
            return fill(TEXTS[e.op].text, parts, TEXTS[e.op].binds)
        if e.op == "cdiv":
            up = al.sub(al.add(a, b), integer(1))
            return self._division(Call("floordiv", (up, b), "int"), axes, clamped)
        if n is not None and n > 0 and n & (n - 1) == 0:
            if e.op == "mod":
                return f"{self._text(a, axes, SUM)} & {n - 1}", AND
            return f"{self._text(a, axes, SUM)} >> {n.bit_length() - 1}", SHIFT
        top, by = self._text(a, axes, PRODUCT - 1), self._text(b, axes, PRODUCT)
        if n is not None and n > 0 and e.op == "floordiv" and not self._holds_less(a, n):
            return f"{top} // {by} - tl.where({top} % {by} < 0, 1, 0)", SUM
        mod = f"({top} % {by} + {self._text(b, axes, SUM)}) % {by}"
        if e.op == "mod":
            return mod, PRODUCT
        return f"({self._text(a, axes, SUM - 1)} - {mod}) // {by}", PRODUCT

    def _holds_less(self, e: Expr, n: int) -> bool:
        """Whether the bits of ``e`` also hold ``e - n``."""
        low, high = self.facts.extents.extent(e)
        return within((low - n, high), INT64 if is_wide(e, self.facts.extents) else INT32)


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
        value = int(value)
        return str(value), ATOM if value >= 0 else UNARY
    value = float(value)
    if isinf(value) or isnan(value):
        return f'float("{value}")', ATOM
    return repr(value), ATOM if str(value)[0] != "-" else UNARY


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
