"""Derivatives of score expressions, read off the operator table (column ``derivative``).

The rule of an operator is a text of the language in its arguments ``a b c`` and its result ``y``; the chain
rule does the rest. Parts of the expression stay as they are, so that a score and its derivative can share
them; only factors and terms that are exactly 0 or 1 are dropped.

Where a function has a corner the derivative is torch's: 0 of ``abs`` at 0; half of each of two equal
arguments of ``min`` and ``max``, but all of an argument that equals a number (``clip`` at its ends). What
decides (a condition, an input's index) is constant almost everywhere and passes nothing on. A branch that
is not taken contributes 0, whatever its derivative is there.
"""

from __future__ import annotations

from functools import cache

from flashgen.errors import FlashgenError

from .build import varies
from .nodes import Call, Const, Expr, Type, Var, real, walk
from .ops import OPS
from .parse import parse
from .scope import Scope
from .text import to_text

ZERO, ONE, MINUS_ONE = real(0.0), real(1.0), real(-1.0)
ARGUMENTS = "abc"


class NoDerivative(FlashgenError):
    """An operator between a value and the result that has no derivative."""


def derivative(e: Expr, wrt: Expr) -> Expr:
    """d ``e`` / d ``wrt`` for a number ``e``; ``wrt`` is a variable or an input's read.

    Raises ``NoDerivative`` where an operator on the way has none.
    """
    if e == wrt:
        return ONE
    if not isinstance(e, Call) or not any(n == wrt for n in walk(e)):
        return ZERO
    total: Expr = ZERO
    for i, a in enumerate(e.args):
        if a.type == "bool":
            continue
        inner = derivative(a, wrt)
        if inner != ZERO:
            total = plus(total, times(_factor(e, i), inner))
    return total


def _factor(e: Call, i: int) -> Expr:
    """The table's factor of argument ``i``, in terms of the arguments of ``e``."""
    op = OPS[e.op]
    rules = op.derivative
    if op.beside_number and not varies(e.args[1 - i]):
        rules = op.beside_number
    text = rules[i] if i < len(rules) else None
    if text is None:
        raise NoDerivative(f"`{to_text(e)}` has no derivative")
    types = tuple(a.type for a in e.args)
    return _filled(_parsed(text, types, e.type), {**dict(zip(ARGUMENTS, e.args, strict=False)), "y": e})


@cache
def _parsed(text: str, types: tuple[Type, ...], result: Type) -> Expr:
    variables: dict[str, Type] = {**dict(zip(ARGUMENTS, types, strict=False)), "y": result}
    return parse(text, Scope(variables=variables, inputs={}, constants={}), want="float")


def _filled(rule: Expr, values: dict[str, Expr]) -> Expr:
    """A rule with its variables replaced, without its factors and terms of 0 and 1; ``values`` stay whole."""
    if isinstance(rule, Var):
        return values[rule.name]
    if not isinstance(rule, Call):
        return rule
    args = tuple(_filled(a, values) for a in rule.args)
    if rule.type != "float":
        return Call(rule.op, args, rule.type)
    match rule.op:
        case "mul":
            return times(*args)
        case "add":
            return plus(*args)
        case "sub":
            return plus(args[0], negative(args[1]))
        case "neg":
            return negative(args[0])
        case "div" | "float" if all(isinstance(a, Const) for a in args):
            return real(OPS[rule.op].python(*(a.value for a in args if isinstance(a, Const))))
    return Call(rule.op, args, "float")


def times(a: Expr, b: Expr) -> Expr:
    """a * b, where 0 times anything is 0."""
    if ZERO in (a, b):
        return ZERO
    for x, y in ((a, b), (b, a)):
        if x == ONE:
            return y
        if x == MINUS_ONE:
            return negative(y)
        if isinstance(x, Const) and isinstance(y, Const):
            return real(float(x.value) * float(y.value))
        if isinstance(x, Const) and isinstance(y, Call) and y.op == "mul":
            for c, rest in (y.args, y.args[::-1]):
                if isinstance(c, Const):
                    return times(times(x, c), rest)
    for x, y in ((a, b), (b, a)):
        # A branch of 0 stays 0 where the other factor is infinite, and the other branch takes the factor.
        if isinstance(x, Call) and x.op == "where" and ZERO in x.args:
            condition, this, other = x.args
            return Call("where", (condition, times(this, y), times(other, y)), "float")
    return Call("mul", (a, b), "float")


def plus(a: Expr, b: Expr) -> Expr:
    """a + b."""
    if ZERO in (a, b):
        return b if a == ZERO else a
    if isinstance(a, Const) and isinstance(b, Const):
        return real(float(a.value) + float(b.value))
    for x, y in ((a, b), (b, a)):
        merged = _merged(x, y)
        if merged is not None:
            return merged
        if (isinstance(y, Call) and y.op == "neg") or (isinstance(y, Const) and y.value < 0):
            return Call("sub", (x, negative(y)), "float")
    return Call("add", (a, b), "float")


def _merged(a: Expr, b: Expr) -> Expr | None:
    """where(c, x, 0) + where(c, 0, y) as where(c, x, y)."""
    if not (isinstance(a, Call) and isinstance(b, Call) and a.op == b.op == "where"):
        return None
    if a.args[0] == b.args[0] and a.args[2] == ZERO and b.args[1] == ZERO:
        this, other = a.args[1], b.args[2]
        return this if this == other else Call("where", (a.args[0], this, other), "float")
    return None


def negative(a: Expr) -> Expr:
    """-a."""
    if isinstance(a, Const):
        return real(-float(a.value))
    if isinstance(a, Call) and a.op == "neg":
        return a.args[0]
    return Call("neg", (a,), "float")
