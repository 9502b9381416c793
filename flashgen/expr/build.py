"""Typed construction of calls: checks arguments against the table and promotes ints to floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import algebra as al
from . import extent as ex
from .evaluate import evaluate_python
from .limits import MOST_SHIFT
from .nodes import Call, Const, Expr, Read, Type, Var, real, rewrite, substitute, walk
from .ops import OPS, Op, Takes


class Mismatch(Exception):
    """Argument number ``position`` of a call does not have a type the operator takes."""

    def __init__(self, position: int, takes: str, got: Type) -> None:
        super().__init__(f"argument {position}: takes {takes}, got {got}")
        self.position, self.takes, self.got = position, takes, got


def promote(e: Expr) -> Expr:
    """An int expression as a float; a literal becomes a float literal. Floats pass."""
    if isinstance(e, Const) and e.type == "int":
        return real(e.value)
    return Call("float", (e,), "float") if e.type == "int" else e


def written_out(body: Expr, values: Mapping[str, Expr]) -> Expr:
    """``body`` with its parameters replaced by ``values`` of the same types; what is promoted of a literal is
    a literal, as where it is written by hand."""

    def literal(e: Expr) -> Expr | None:
        return promote(e.args[0]) if isinstance(e, Call) and e.op == "float" else None

    return rewrite(substitute(body, values), literal)


def fits(takes: Takes, got: Type) -> bool:
    """Whether an argument of type ``got`` is one that an operator ``takes``."""
    return got in ("int", "float") if takes in ("num", "float") else got == takes


def meant(rows: Sequence[Op], types: Sequence[Type]) -> Op | None:
    """Of what a sign may mean, what it means for arguments of these types."""
    return next((op for op in rows if all(map(fits, op.takes, types))), None)


def call(name: str, *args: Expr) -> Expr:
    """The operator ``name`` applied to ``args``, typed. Raises ``Mismatch``."""
    op = OPS[name]
    if len(args) != len(op.takes):
        raise TypeError(f"{name} takes {len(op.takes)} arguments, got {len(args)}")
    for i, (takes, a) in enumerate(zip(op.takes, args, strict=True)):
        if not fits(takes, a.type):
            raise Mismatch(i, takes, a.type)
    as_float = op.result == "float" or any(a.type == "float" for a in args)
    args = tuple(promote(a) if as_float or t == "float" else a for a, t in zip(args, op.takes, strict=True))
    if name == "float":
        return args[0]
    result: Type = ("float" if as_float else "int") if op.result == "same" else op.result
    return Call(name, args, result)


def unsound(e: Expr) -> str | None:
    """What is wrong with the constants in the node ``e``, its arguments being sound; None if nothing."""
    if not isinstance(e, Call):
        return None
    if e.op in ("floordiv", "mod") and _constant(e.args[1]) == 0:
        return f"`{OPS[e.op].symbol}` by zero"
    if e.op in ("shift_left", "shift_right"):
        count = _constant(e.args[1])
        if count is not None and not 0 <= count <= MOST_SHIFT:
            return f"`{OPS[e.op].symbol}` by {count} gives zero: a count is 0 … {MOST_SHIFT}"
    if e.op == "div" and not varies(e.args[1]) and evaluate_python(e.args[1], {}) == 0:
        return "`/` by zero is infinite or NaN for every pair; infinity is written `inf`"
    return None


def real_products(e: Expr) -> Expr:
    """``e`` as it is meant: a product of ints that becomes a float is one of floats, however large."""

    def rule(n: Expr) -> Expr | None:
        if isinstance(n, Call) and n.op == "float" and isinstance(of := n.args[0], Call) and of.op == "mul":
            return Call("mul", tuple(real_products(promote(a)) for a in of.args), "float")
        return None

    return rewrite(e, rule)


def too_large(e: Expr) -> Expr | None:
    """The smallest part of ``e`` that 64 bits might not hold; None where they hold all. What is rearranged or
    corrected on the way counts."""
    found = ex.LANGUAGE.leaving(real_products(e), ex.INT64)
    return found[0] if found else None


def magnitude(e: Expr) -> int:
    """The largest magnitude on the way to ``e``, an operator's."""
    low, high = ex.LANGUAGE.on_the_way(e) if isinstance(e, Call) else ex.LANGUAGE.extent(e)
    return max(-low, high)


def _constant(e: Expr) -> int | None:
    """The value of an int expression that always has the same."""
    terms, rest = al.affine(e)
    if not terms:
        return rest
    return None if varies(e) else int(evaluate_python(e, {}))


def varies(e: Expr) -> bool:
    """Whether ``e`` reads anything."""
    return any(isinstance(n, Var | Read) for n in walk(e))
