"""Int expressions as Python of the host function, whose ``//`` and ``%`` round down as they should."""

from __future__ import annotations

from collections.abc import Mapping

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, substitute
from flashgen.expr.ops import OPS

from .ops import ATOM, UNARY, Row
from .text import Piece, constant, fill, wrap

_SYMBOLS = {op.name: op.symbol for op in OPS.values() if op.symbol}
#: Operators on numbers.
_NUMBERS = {
    **{name: Row(f"{{0}} {symbol} {{1}}", OPS[name].precedence) for name, symbol in _SYMBOLS.items()},
    "neg": Row("-{0}", UNARY),
    "cdiv": Row("triton.cdiv({0}, {1})"),
    "min": Row("min({0}, {1})"),
    "max": Row("max({0}, {1})"),
    "abs": Row("abs({0})"),
}
#: Operators of which an argument may be a tensor.
_TENSORS = {
    **{name: Row(f"({{0}} {symbol} {{1}})") for name, symbol in _SYMBOLS.items()},
    "neg": Row("(-{0})"),
    "not": Row("(~{0})"),
    "bit_not": Row("(~{0})"),
    "abs": Row("abs({0})"),
    "int": Row("({0} + 0)"),
    "cdiv": Row("-(-{0} // {1})"),
    "where": Row("torch.where({0}, {1}, {2})"),
    "min": Row("torch.minimum(torch.as_tensor({0}), torch.as_tensor({1}))"),
    "max": Row("torch.maximum(torch.as_tensor({0}), torch.as_tensor({1}))"),
}


def host_text(e: Expr, sides: Mapping[str, int], tighter_than: int = 0) -> str:
    """A size as plain Python, with numbers for the tile sides."""
    e = al.simplify(substitute(e, {n: integer(v) for n, v in sides.items()}))
    return wrap(_printed(e, _NUMBERS), tighter_than)


def tensor_text(e: Expr) -> str:
    """An index in terms of tensors of element numbers."""
    return _printed(e, _TENSORS)[0]


def _printed(e: Expr, rows: Mapping[str, Row]) -> Piece:
    if isinstance(e, Const):
        return constant(e)
    if isinstance(e, Var):
        return e.name, ATOM
    assert isinstance(e, Call), "inputs are read by loads"
    return fill(rows[e.op], [_printed(a, rows) for a in e.args])
