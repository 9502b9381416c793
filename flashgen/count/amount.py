"""An amount of work or traffic as a sum over tiles, still exact for every length, and how sums over it end.

One statement of a ``Program`` gives one ``Amount``: what it does at one point of the grid and of the loops
around it, and those loops. ``summed`` takes away every sum that needs no assumption: a loop whose variable
nothing depends on is a product, and intervals that abut from tile to tile are one interval. What is left
(loop bounds that vary with a row tile) stays a sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, substitute, variables
from flashgen.ir.program import Range

Kind = Literal["read", "written", "flops", "exponentials"]


@dataclass(frozen=True)
class Span:
    """A number of elements or passes: ``max(0, min(highs) - max(lows))``."""

    lows: tuple[Expr, ...]
    highs: tuple[Expr, ...]

    @property
    def names(self) -> set[str]:
        """The variables it depends on."""
        return {n for e in (*self.lows, *self.highs) for n in variables(e)}


@dataclass(frozen=True)
class Columns:
    """So many columns of a head dim of ``total`` columns, which formulas call ``symbol``."""

    symbol: str
    number: int
    total: int


@dataclass(frozen=True)
class Over:
    """A sum over ``var`` in ``domain``."""

    var: str
    domain: Range


@dataclass(frozen=True)
class Amount:
    """``times`` x sides x columns x spans, where all ``tests`` hold, summed over ``over`` (outer first).

    ``tensor`` is what the bytes belong to, empty for work.
    """

    kind: Kind
    tensor: str
    times: int = 1
    sides: tuple[Expr, ...] = ()
    columns: tuple[Columns, ...] = ()
    spans: tuple[Span, ...] = ()
    tests: tuple[Expr, ...] = ()
    over: tuple[Over, ...] = ()

    @property
    def each(self) -> int:
        """The part of the product that is a number."""
        n = self.times
        for c in self.columns:
            n *= c.number
        return n


def each_range(
    amount: Amount, loops: tuple[tuple[str, tuple[Range, ...]], ...]
) -> Iterator[Amount]:  # fmt: skip
    """``amount`` inside ``loops``: one for every choice of a range of each."""
    names = [name for name, _ in loops]
    for chosen in product(*(domain for _, domain in loops)):
        outer = tuple(Over(n, r) for n, r in zip(names, chosen, strict=True))
        yield replace(amount, over=(*outer, *amount.over))


def summed(a: Amount) -> Amount:
    """``a`` with every sum done that can be done exactly, innermost first."""
    kept: list[Over] = []
    for o in reversed(a.over):
        inner = {n for k in kept for e in (k.domain.lo, k.domain.hi) for n in variables(e)}
        tested = {n for t in a.tests for n in variables(t)}
        spans = [s for s in a.spans if o.var in s.names]
        if o.var not in inner | tested:
            if not spans:
                a = replace(a, spans=(*a.spans, Span((o.domain.lo,), (o.domain.hi,))))
                continue
            whole = _abutting(spans[0], o) if len(spans) == 1 else None
            if whole is not None:
                a = replace(a, spans=tuple(whole if s is spans[0] else s for s in a.spans))
                continue
        kept.insert(0, o)
    return replace(a, over=tuple(kept), spans=tuple(_plain(s) for s in a.spans))


def _abutting(s: Span, o: Over) -> Span | None:
    """The union of ``s`` over ``o`` where each interval begins where the one before it ends."""
    lows = [e for e in s.lows if o.var in variables(e)]
    highs = [e for e in s.highs if o.var in variables(e)]
    if len(lows) != 1 or len(highs) != 1:
        return None
    (low,), (high,) = lows, highs
    following = substitute(low, {o.var: al.add(Var(o.var, "int"), integer(1))})
    if terms(following) != terms(high) or not _grows(low, o.var):
        return None
    first, last = (substitute(low, {o.var: e}) for e in (o.domain.lo, o.domain.hi))
    return Span(
        tuple(first if e is low else e for e in s.lows), tuple(last if e is high else e for e in s.highs)
    )


def _grows(e: Expr, var: str) -> bool:
    """Whether ``e`` is ``var`` times something positive plus what does not depend on it."""
    found = [(t, c) for t, c in terms(e).items() if any(var in variables(x) for x in t)]
    if len(found) != 1:
        return False
    (factors, coefficient) = found[0]
    rest = [x for x in factors if x != Var(var, "int")]
    return len(rest) == len(factors) - 1 and coefficient > 0 and all(al.non_negative(x) for x in rest)


def _plain(s: Span) -> Span:
    """``s`` without ends that another one makes needless."""
    return Span(_without(s.lows, lower=True), _without(s.highs, lower=False))


def _without(ends: tuple[Expr, ...], lower: bool) -> tuple[Expr, ...]:
    out: list[Expr] = []
    for e in dict.fromkeys(ends):
        if any(_at_most(e, o) if lower else _at_most(o, e) for o in out):
            continue
        out = [o for o in out if not (_at_most(o, e) if lower else _at_most(e, o))] + [e]
    return tuple(out)


def _at_most(a: Expr, b: Expr) -> bool:
    """``al.at_most``, and n <= cdiv(n, side) * side."""
    if isinstance(b, Call) and b.op == "mul":
        for x, side in (b.args, b.args[::-1]):
            if isinstance(x, Call) and x.op == "cdiv" and x.args == (a, side):
                return True
    if any(v.startswith("@") for e in (a, b) for v in variables(e)):
        return False
    return al.at_most(a, b) if a.type == b.type == "int" else False


def terms(e: Expr) -> dict[tuple[Expr, ...], int]:
    """``e`` multiplied out: products of atoms with their coefficients."""
    if isinstance(e, Const):
        return {(): int(e.value)} if e.value else {}
    if isinstance(e, Call) and e.op in ("add", "sub", "neg"):
        out: dict[tuple[Expr, ...], int] = {}
        signs = {"add": (1, 1), "sub": (1, -1), "neg": (-1,)}[e.op]
        for part, sign in zip(e.args, signs, strict=True):
            for t, c in terms(part).items():
                out[t] = out.get(t, 0) + sign * c
        return {t: c for t, c in out.items() if c}
    if isinstance(e, Call) and e.op == "mul":
        out = {}
        for (t, c), (u, d) in product(*(terms(x).items() for x in e.args)):
            key = tuple(sorted((*t, *u), key=repr))
            out[key] = out.get(key, 0) + c * d
        return {t: c for t, c in out.items() if c}
    return {(e,): 1}
