"""A typed expression to the language's own text: what errors, dumps and explanations show.

``parse(to_text(e)) == e`` for every expression that ``parse`` gives. A promotion is printed as
``float(x)`` only where reading the text back would not insert it.
"""

from __future__ import annotations

from .nodes import Call, Const, Expr, Read, Type, Var
from .ops import OPS, PREFIX

_ATOM = 100
_UNARY = OPS["neg"].precedence
_SIGN = {op.name: sign for sign, rows in PREFIX.items() for op in rows}


def to_text(e: Expr) -> str:
    """The canonical text of ``e``."""
    return _text(e)[0]


def _text(e: Expr) -> tuple[str, int]:
    """The text and how tightly its outermost operator binds."""
    if isinstance(e, Const):
        text = literal(e)
        return text, _UNARY if text.startswith("-") else _ATOM
    if isinstance(e, Var):
        return e.name, _ATOM
    if isinstance(e, Read):
        index = ", ".join(to_text(i) for i in e.index)
        return (f"{e.name}[{index}]" if e.index else e.name), _ATOM
    op = OPS[e.op]
    args = _unpromoted(e)
    if e.op in _SIGN:
        return _SIGN[e.op] + _wrapped(args[0], _UNARY), _UNARY
    if op.symbol is None:
        return f"{op.name}({', '.join(to_text(a) for a in args)})", _ATOM
    # All infix operators group to the left, but comparisons would chain, and
    # a bare ``~`` is not let stand before one.
    chains = op.precedence == OPS["lt"].precedence
    alone = chains and isinstance(args[0], Call) and args[0].op == "bit_not"
    left = _wrapped(args[0], _ATOM if alone else op.precedence + chains)
    right = _wrapped(args[1], op.precedence + 1)
    return f"{left} {op.symbol} {right}", op.precedence


def _wrapped(e: Expr, least: int) -> str:
    text, binds = _text(e)
    return text if binds >= least else f"({text})"


def literal(e: Const) -> str:
    """``True``, ``3``, ``0.5``, ``-inf``."""
    return repr(float(e.value)) if e.type == "float" else str(e.value)


def _unpromoted(e: Call) -> tuple[Expr, ...]:
    """The arguments without the ``float(x)`` that reading back would insert."""
    op = OPS[e.op]
    if e.op == "float":
        return e.args
    plain = tuple(
        a.args[0] if isinstance(a, Call) and a.op == "float" and t in ("num", "float") else a
        for a, t in zip(e.args, op.takes, strict=True)
    )
    types: set[Type] = {a.type for a in plain}
    if op.result == "float" or set(op.takes) == {"float"} or "float" in types:
        return plain
    # Only promotions make this a float operation: keep the first, it promotes the others.
    first = next((i for i, a in enumerate(e.args) if a is not plain[i]), None)
    return tuple(a if i == first else p for i, (a, p) in enumerate(zip(e.args, plain, strict=True)))
