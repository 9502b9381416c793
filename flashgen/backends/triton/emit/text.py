"""Lowered expressions as Triton text: minimal parentheses, broadcast by the names of axes.

What an operator looks like stands in a table (``ops``); one that is not there was not lowered
(``arithmetic``), and is refused. Tiles in ``elem`` precision are widened to fp32 first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isinf, isnan
from typing import Literal

from flashgen.expr.nodes import Call, Const, Expr, Var, variables
from flashgen.ir.program import Tile
from flashgen.ir.verify import require
from flashgen.plan.plan import Plan

from .ops import ATOM, POSTFIX, TEXTS, UNARY, Row

#: ``ptx`` texts are inline assembly of NVIDIA GPUs: approximations good enough for 16-bit elements.
Dialect = Literal["exact", "ptx"]


def dialect(plan: Plan) -> Dialect:
    """Which texts of operators suit a plan's dtype and target."""
    return "ptx" if plan.inline_ptx and plan.dtype in ("fp16", "bf16") else "exact"


#: How a scalar is converted, which in the interpreter may be a plain number.
SCALAR_CASTS = {"float": "tl.float32", "wide": "tl.int64", "narrow": "tl.int32"}
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
    """Prints expressions over ``tiles``; other names are scalars.

    ``widen`` says that ``elem`` is narrower than fp32; ``dialect`` is which text of an operator to take;
    ``inside`` are texts that stand where their names do.
    """

    tiles: Mapping[str, Tile] = field(default_factory=dict)
    widen: bool = True
    dialect: Dialect = "exact"
    inside: Mapping[str, str] = field(default_factory=dict)

    def text(self, e: Expr, axes: tuple[str, ...] = (), tighter_than: int = 0) -> str:
        """``e`` over ``axes``, in parentheses where it binds no tighter than asked."""
        return wrap(self._print(e, axes), tighter_than)

    def is_tile(self, e: Expr) -> bool:
        """Whether ``e`` differs within a program."""
        return any(self.tiles[v].axes for v in variables(e) if v in self.tiles)

    def _print(self, e: Expr, axes: tuple[str, ...]) -> Piece:
        if isinstance(e, Const):
            return constant(e)
        if isinstance(e, Var):
            return self._var(e, axes), ATOM
        lowered = isinstance(e, Call) and e.op in TEXTS
        require(lowered, f"{e.op if isinstance(e, Call) else e} was not lowered: Triton has no text for it")
        assert isinstance(e, Call)
        if e.op in SCALAR_CASTS and not self.is_tile(e):
            return f"tl.cast({self.text(e.args[0], axes)}, {SCALAR_CASTS[e.op]})", ATOM
        if e.op == "add" and isinstance(e.args[1], Const) and e.args[1].value < 0:
            return self._print(Call("sub", (e.args[0], Const(-e.args[1].value, e.type)), e.type), axes)
        row, parts = TEXTS[e.op], [self._print(a, axes) for a in e.args]
        if row.ptx is not None and self.dialect == "ptx":
            return fill(Row(row.ptx), parts)
        return fill(row, parts)

    def _var(self, e: Var, axes: tuple[str, ...]) -> str:
        tile = self.tiles.get(e.name)
        if tile is None:
            return e.name
        text = subscript(self.inside.get(e.name, e.name), tile.axes, axes)
        return f"{text}.to(tl.float32)" if tile.dtype == "elem" and self.widen else text


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


def fill(row: Row, parts: list[Piece]) -> Piece:
    """An operator's text with its arguments in place, in parentheses only where these bind less."""
    template = row.text
    if _INFIX.fullmatch(template):
        return template.format(wrap(parts[0], row.left), wrap(parts[1], row.binds)), row.binds

    def hole(m: re.Match[str]) -> str:
        if m[1] is not None:  # ({0}).method: parentheses are needed by all but names and calls
            part = parts[int(m[1])]
            return part[0] if part[1] >= POSTFIX and not part[0][0].isdigit() else f"({part[0]})"
        before, after = template[: m.start()].rstrip(), template[m.end() :].lstrip()
        alone = before[-1:] in ("(", "[", ",") and after[:1] in (")", "]", ",")
        return wrap(parts[int(m[2])], 0 if alone else UNARY - 1 if template == "-{0}" else UNARY)

    return _HOLE.sub(hole, template), row.binds
