"""Amounts as sympy expressions, exact for all lengths: what is not summed yet stays a ``Sum`` over tiles.

Only our typed nodes come here, never text. ``Sum`` counts as sympy does (an empty one is 0), ``floor`` and
``ceiling`` are of exact quotients, and every symbol is an integer.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sympy

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Const, Expr, Read, Var, larger_than, variables

from .amount import Amount, Over, Span

#: Symbols that are never 0. Lengths may be.
POSITIVE = ("BLOCK_M", "BLOCK_N", "d", "d_v", "elem_bytes", "acc_bytes", "M")
#: A test with more nodes is not written out: sympy would unfold its cases without end.
MOST_NODES = 40

_RELATIONS = {
    "lt": sympy.Lt, "le": sympy.Le, "gt": sympy.Gt, "ge": sympy.Ge, "eq": sympy.Eq, "ne": sympy.Ne,
    "and": sympy.And, "or": sympy.Or, "not": sympy.Not,
    "xor": sympy.Xor, "unlike": sympy.Xor, "iff": sympy.Equivalent,
}  # fmt: skip


def symbol(name: str) -> Any:
    """The integer symbol called ``name``: positive, or not negative."""
    return sympy.Symbol(
        name.lstrip("@"), integer=True, **{"positive" if name in POSITIVE else "nonnegative": True}
    )


@lru_cache(maxsize=4096)
def to_sympy(e: Expr) -> Any:
    """One of our expressions in sympy's terms; what sympy has no exact form of stays a function's name."""
    if isinstance(e, Const):
        return sympy.true if e.value is True else sympy.false if e.value is False else sympy.sympify(e.value)
    if isinstance(e, Var):
        return symbol(e.name)
    if isinstance(e, Read):
        value = sympy.Function(e.name, integer=True)(*map(to_sympy, e.index))
        return sympy.Ne(value, 0) if e.type == "bool" else value
    a = [to_sympy(x) for x in e.args]
    match e.op:
        case "add":
            return a[0] + a[1]
        case "sub":
            return a[0] - a[1]
        case "neg":
            return -a[0]
        case "mul":
            return a[0] * a[1]
        case "floordiv" if e.args == (Var("Hq", "int"), Var("Hkv", "int")):
            return a[0] / a[1]  # heads come in whole groups
        case "floordiv":
            return sympy.floor(a[0] / a[1])
        case "cdiv":
            return sympy.ceiling(a[0] / a[1])
        case "mod":
            return a[0] - a[1] * sympy.floor(a[0] / a[1])
        case "min" | "max" if e.type == "int":
            return (sympy.Min if e.op == "min" else sympy.Max)(*a, evaluate=False)
        case "abs":
            return sympy.Abs(a[0])
        case "where" if e.type != "bool":
            return sympy.Piecewise((a[1], a[0]), (a[2], True), evaluate=False)
        case "int":
            return sympy.Piecewise((1, a[0]), (0, True), evaluate=False)
    if e.op in _RELATIONS:
        return _RELATIONS[e.op](*a)
    return sympy.Function(e.op)(*a)


def span_to_sympy(s: Span) -> Any:
    """``max(0, min(highs) - max(lows))``."""
    low, high = ([to_sympy(e) for e in ends] for ends in (s.lows, s.highs))
    lowest = low[0] if len(low) == 1 else sympy.Max(*low, evaluate=False)
    highest = high[0] if len(high) == 1 else sympy.Min(*high, evaluate=False)
    if len(s.lows) == len(s.highs) == 1 and al.at_most(s.lows[0], s.highs[0]):
        return highest - lowest
    return sympy.Max(0, highest - lowest, evaluate=False)


def over_to_sympy(body: Any, over: tuple[Over, ...]) -> Any:
    """``body`` summed over ``over``, an empty domain counting as none."""
    for o in reversed(over):
        lo, hi = to_sympy(o.domain.lo), to_sympy(o.domain.hi)
        if not al.at_most(o.domain.lo, o.domain.hi):
            hi = sympy.Max(lo, hi, evaluate=False)
        body = sympy.Sum(body, (symbol(o.var), lo, hi - 1))
    return body


def grouped(
    amounts: Iterable[Amount],
) -> dict[tuple[tuple[Over, ...], tuple[Span, ...], tuple[Expr, ...]], Any]:
    """What multiplies each different sum of spans and tests."""
    out: dict[Any, Any] = {}
    for a in amounts:
        factor = sympy.Integer(a.times)
        for c in a.columns:
            factor *= sympy.Rational(c.number, c.total) * symbol(c.symbol)
        for side in a.sides:
            factor *= to_sympy(side)
        key = a.over, a.spans, a.tests
        out[key] = out.get(key, 0) + factor
    return out


def _indicator(test: Expr) -> Any:
    """1 where ``test`` holds, else 0; a long test stays a function, ``inside``, of what it depends on."""
    if larger_than(test, MOST_NODES):
        return sympy.Function("inside", integer=True)(*map(symbol, sorted(variables(test))))
    return sympy.Piecewise((1, to_sympy(test)), (0, True), evaluate=False)


def exact(amounts: Iterable[Amount]) -> Any:
    """The sum of ``amounts`` for all lengths and sides."""
    total = sympy.Integer(0)
    for (over, spans, tests), factor in grouped(amounts).items():
        inside = [s for s in spans if s.names & {o.var for o in over}]
        for s in spans:
            factor *= 1 if s in inside else span_to_sympy(s)
        body = sympy.Mul(*(span_to_sympy(s) for s in inside))
        for t in tests:
            body *= _indicator(t)
        total += factor * over_to_sympy(body, over)
    return total
