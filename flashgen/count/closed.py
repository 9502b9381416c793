"""Closed forms: amounts where tile sides divide lengths, so that every sum over tiles comes out.

Lengths become whole numbers of tiles (``Nq = m * BLOCK_M``), and where a bound mixes both axes (causal) one
side a multiple of the other. Then each floor, ceiling, minimum and maximum is decided by proof: a polynomial
is not negative if, at every corner of the sums' variables and with each symbol as its least value plus
something, no coefficient is negative. What cannot be decided raises ``Undecided``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from flashgen.expr.nodes import Call, Const, Expr, Var

from .amount import Amount, Over, Span
from .symbolic import grouped, symbol


class Undecided(Exception):
    """A floor, a comparison or a test depends on more than the assumptions say."""


class Split(Exception):
    """A floor divides ``var`` by ``by``: its sum is to be cut into groups of so many."""

    def __init__(self, var: Any, by: Any) -> None:
        super().__init__(f"{var} by {by}")
        self.var, self.by = var, by


@dataclass(frozen=True)
class Assumption:
    """What lengths and sides are in terms of others, in words, and how to put them back."""

    said: tuple[str, ...]
    known: tuple[tuple[str, Any], ...]
    back: tuple[tuple[Any, Any], ...]


_M, _N, _R = (sympy.Symbol(n, integer=True, positive=True) for n in ("m", "n", "r"))
_BM, _BN = symbol("BLOCK_M"), symbol("BLOCK_N")
_NQ, _NK, LENGTH = symbol("Nq"), symbol("Nk"), symbol("N")
#: The least a symbol can be: tile sides are at least 16.
_LEAST = {_BM: 16, _BN: 16}

DIVIDES = Assumption(
    ("BLOCK_M divides Nq", "BLOCK_N divides Nk"),
    (("Nq", _M * _BM), ("Nk", _N * _BN)),
    ((_M, _NQ / _BM), (_N, _NK / _BN)),
)
WIDE_ROWS = Assumption(
    ("Nq = Nk = N", "BLOCK_M divides N", "BLOCK_N divides BLOCK_M"),
    (("BLOCK_M", _R * _BN), ("Nq", _M * _R * _BN), ("Nk", _M * _R * _BN)),
    ((_M, LENGTH / (_R * _BN)), (_R, _BM / _BN)),
)
WIDE_KEYS = Assumption(
    ("Nq = Nk = N", "BLOCK_N divides N", "BLOCK_M divides BLOCK_N"),
    (("BLOCK_N", _R * _BM), ("Nq", _M * _R * _BM), ("Nk", _M * _R * _BM)),
    ((_M, LENGTH / (_R * _BM)), (_R, _BN / _BM)),
)
ASSUMPTIONS = (DIVIDES, WIDE_ROWS, WIDE_KEYS)


def closed(amounts: Iterable[Amount], assumption: Assumption) -> Any:
    """The sum of ``amounts`` under ``assumption``, without sums. Raises ``Undecided``."""
    total = sympy.Integer(0)
    known = dict(assumption.known)
    for (over, spans, tests), factor in grouped(amounts).items():
        if tests:
            raise Undecided("a guard that is not a bound of one axis")
        total += factor.subs({symbol(n): e for n, e in known.items()}) * _summed(over, spans, assumption)
    total = sympy.expand(total)
    for a, b in assumption.back:
        total = total.subs(a, b)
    return sympy.expand(sympy.cancel(total))


@lru_cache(maxsize=1024)
def _summed(over: tuple[Over, ...], spans: tuple[Span, ...], assumption: Assumption) -> Any:
    cuts: dict[str, Any] = {}  # sums over a variable that go in groups
    while True:
        try:
            return _once(over, spans, dict(assumption.known), {}, cuts)
        except Split as s:
            name = str(s.var)
            if name in cuts or name not in {o.var for o in over}:
                raise Undecided(f"a quotient of {name}") from None
            cuts[name] = s.by


def _once(
    over: tuple[Over, ...], spans: tuple[Span, ...], known: dict[str, Any], ranges: dict[Any, Any],
    cuts: Mapping[str, Any],
) -> Any:  # fmt: skip
    """The spans' product summed over ``over``; ``ranges`` gives the last value of each variable from 0."""
    if not over:
        out = sympy.Integer(1)
        for s in spans:
            out = sympy.expand(out * _span(s, known, ranges))
        return out
    o, *rest = over
    lo, n = resolve(o.domain.lo, known, ranges), _span(Span((o.domain.lo,), (o.domain.hi,)), known, ranges)
    if n == 0:
        return sympy.Integer(0)
    if o.var in cuts:
        groups = sympy.cancel(n / cuts[o.var])
        if lo != 0 or sympy.denom(groups) != 1:
            raise Undecided(f"{o.var} in groups of {cuts[o.var]}")
        outer, inner = (sympy.Symbol(f"{o.var} {part}", integer=True) for part in ("group", "member"))
        parts = [(inner, cuts[o.var]), (outer, groups)]
        value = outer * cuts[o.var] + inner
    else:
        own = sympy.Symbol(o.var, integer=True)
        parts, value = [(own, n)], lo + own
    inside = ranges | {v: sympy.expand(size - 1) for v, size in parts}
    out = _once(tuple(rest), spans, known | {o.var: value}, inside, cuts)
    for v, size in parts:
        out = sympy.expand(_power_sums(out, v, size))
    return out


def _power_sums(e: Any, v: Any, n: Any) -> Any:
    """The polynomial ``e`` summed over v = 0 … n - 1."""
    out = sympy.Integer(0)
    for (power,), c in sympy.Poly(e, v).terms():
        total = sympy.Integer(0)  # Faulhaber, by Bernoulli numbers with B_1 = -1/2
        for j in range(power + 1):
            bernoulli = sympy.Rational(-1, 2) if j == 1 else sympy.bernoulli(j)
            total += sympy.binomial(power + 1, j) * bernoulli * n ** (power + 1 - j)
        out += c * total / (power + 1)
    return out


def _span(s: Span, known: Mapping[str, Any], ranges: Mapping[Any, Any]) -> Any:
    highs = [resolve(e, known, ranges) for e in s.highs]
    lows = [resolve(e, known, ranges) for e in s.lows]
    gap = sympy.expand(_extreme(highs, ranges, -1) - _extreme(lows, ranges, 1))
    return _extreme([gap, sympy.Integer(0)], ranges, 1)


def _extreme(values: list[Any], ranges: Mapping[Any, Any], sign: int) -> Any:
    """The largest (``sign`` 1) or smallest (-1) of ``values``."""
    for a in values:
        if all(a is b or not_negative(sign * (a - b), ranges) for b in values):
            return a
    raise Undecided(f"the {'largest' if sign > 0 else 'smallest'} of {values}")


def resolve(e: Expr, known: Mapping[str, Any], ranges: Mapping[Any, Any]) -> Any:
    """``e`` as a polynomial. Raises ``Undecided``, or ``Split``."""
    if isinstance(e, Const) and e.type == "int":
        return sympy.Integer(e.value)
    if isinstance(e, Var) and e.type == "int":
        return known.get(e.name, symbol(e.name))
    if not isinstance(e, Call):
        raise Undecided(f"{e}")
    if e.op == "floordiv" and e.args == (Var("Hq", "int"), Var("Hkv", "int")):
        return symbol("Hq") / symbol("Hkv")
    if e.op == "where":
        return resolve(e.args[1 if _holds(e.args[0], known, ranges) else 2], known, ranges)
    a = [resolve(x, known, ranges) for x in e.args]
    match e.op:
        case "add":
            return sympy.expand(a[0] + a[1])
        case "sub":
            return sympy.expand(a[0] - a[1])
        case "neg":
            return sympy.expand(-a[0])
        case "mul":
            return sympy.expand(a[0] * a[1])
        case "min" | "max":
            return _extreme(a, ranges, 1 if e.op == "max" else -1)
        case "floordiv":
            return _floor(a[0], a[1], ranges)
        case "cdiv":
            return sympy.expand(-_floor(sympy.expand(-a[0]), a[1], ranges))
        case "mod":
            return sympy.expand(a[0] - a[1] * _floor(a[0], a[1], ranges))
    raise Undecided(e.op)


def _holds(e: Expr, known: Mapping[str, Any], ranges: Mapping[Any, Any]) -> bool:
    if isinstance(e, Call) and e.op in ("lt", "le", "gt", "ge"):
        a, b = (resolve(x, known, ranges) for x in (e.args if e.op in ("lt", "le") else e.args[::-1]))
        least = 1 if e.op in ("lt", "gt") else 0
        if not_negative(b - a - least, ranges):
            return True
        if not_negative(a - b - 1 + least, ranges):
            return False
    raise Undecided("a condition")


def _floor(a: Any, b: Any, ranges: Mapping[Any, Any]) -> Any:
    """floor(a / b) of polynomials, b positive."""
    whole, rest = sympy.Integer(0), sympy.Integer(0)
    for term in sympy.Add.make_args(a):
        ratio = sympy.cancel(term / b)
        if sympy.denom(ratio) == 1:
            whole += ratio
        else:
            rest += term
    for steps in (0, -1, 1):
        left = sympy.expand(rest - steps * b)
        if not_negative(left, ranges) and not_negative(b - 1 - left, ranges):
            return sympy.expand(whole + steps)
    factors = sympy.Mul.make_args(b)
    if len(factors) > 1:  # one after another: floor(floor(x / a) / b) = floor(x / (a b))
        for first in factors:
            try:
                inner = _floor(rest, first, ranges)
            except (Undecided, Split):
                continue
            return sympy.expand(whole + _floor(inner, sympy.cancel(b / first), ranges))
    for v in ranges:
        if abs(sympy.Poly(rest, v).coeff_monomial(v)) == 1 and b.is_Symbol:
            raise Split(v, b)
    raise Undecided(f"the quotient of {a} and {b}")


def not_negative(e: Any, ranges: Mapping[Any, Any]) -> bool:
    """Whether ``e``, affine in each variable of ``ranges`` (0 … last), is proved to be >= 0."""
    e = sympy.expand(e)
    inside = [v for v in reversed(ranges) if v in e.free_symbols]
    if not inside:
        return _coefficients_not_negative(e)
    v = inside[0]
    if sympy.degree(e, v) > 1:
        return False
    return all(not_negative(e.subs(v, at), ranges) for at in (sympy.Integer(0), ranges[v]))


@lru_cache(maxsize=1 << 14)
def _coefficients_not_negative(e: Any) -> bool:
    least = {s: _LEAST.get(s, 1) for s in e.free_symbols}
    if e.subs(least) < 0:
        return False
    more = {s: n + s if n > 1 or s.is_positive else s for s, n in least.items()}
    parts = sympy.fraction(
        sympy.together(e.subs(more, simultaneous=True))
    )  # neither with a negative coefficient
    gens = tuple(e.free_symbols) or (LENGTH,)
    return all(c >= 0 for part in parts for c in sympy.Poly(part, *gens).coeffs())
