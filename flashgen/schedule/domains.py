"""Masks become loop bounds: a predicate over (q, k) -> the tiles to visit, full and partial.

For a tile of rows ``given`` in a known interval, the predicate is solved for the other axis. Each atom
gives two sets of positions, as spans with symbolic ends:

    possible   a superset of the positions visible to some row     (outside it: empty tiles)
    certain    a subset of the positions visible to every row      (tiles inside it: full)

``&`` intersects, ``|`` unites, ``~`` swaps the two and complements. An atom that cannot be solved is
possible everywhere and certain nowhere, which is always right and never fast. So is what would take too
many spans, too large an end or too many steps: no mask may take long to lower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from typing import TypeAlias

from flashgen.expr import algebra as al
from flashgen.expr.bits import ALIKE, spread
from flashgen.expr.extent import LANGUAGE
from flashgen.expr.interval import Interval, interval
from flashgen.expr.nodes import FALSE, TRUE, Call, Expr, Var, integer, larger_than, variables
from flashgen.ir.program import Range

ZERO, ONE = integer(0), integer(1)
#: Beyond this many spans a set is given up as unsolved: bounds would cost more than they save.
MAX_SPANS = 4
#: The same on the way there: what is met later may empty some of them.
MOST_SPANS = 6
#: An end of a span with more nodes is given up.
MOST_NODES = 32
#: An end may come to so much: there is room to round it to whole tiles in 64 bits.
MOST_END = (-(2**62), 2**62)
#: So many different predicates are solved for one mask; the rest of it is given up.
MOST_STEPS = 64
#: More loops than this, or ends with more nodes, cost more than full tiles save.
MOST_RANGES = 8
MOST_RANGE_NODES = 100


@dataclass(frozen=True)
class Span:
    """Positions ``lo <= x < hi`` (empty when hi <= lo)."""

    lo: Expr
    hi: Expr


Spans: TypeAlias = tuple[Span, ...]


@dataclass(frozen=True)
class Visible:
    """Unions of spans: where a pair may be visible, and where it certainly is."""

    possible: Spans
    certain: Spans


@dataclass(frozen=True)
class Solver:
    """Solves predicates for the axis ``over`` of length ``length``, rows ``given`` in intervals."""

    over: str
    length: Expr
    given: Mapping[str, Interval]
    solved: dict[Expr, Visible] = field(default_factory=dict, compare=False, repr=False)

    def solve(self, e: Expr) -> Visible:
        """The sets of ``e``, spans inside [0, length)."""
        found = self.solved.get(e)
        if found is None:
            if len(self.solved) >= MOST_STEPS:
                return Visible(self._if(TRUE), ())
            found = self._solve(e)
            self.solved[e] = Visible(self._widened(found.possible), _shortened(found.certain))
        return self.solved[e]

    def _solve(self, e: Expr) -> Visible:
        if self.over not in variables(e):
            certain, possible = interval(e, self.given)
            return Visible(self._if(possible or TRUE), self._if(certain or FALSE))
        assert isinstance(e, Call) or e.type == "bool"
        if isinstance(e, Call):
            if e.op == "and":
                a, b = map(self.solve, e.args)
                return Visible(_meet(a.possible, b.possible), _meet(a.certain, b.certain))
            if e.op == "or":
                a, b = map(self.solve, e.args)
                return Visible(_join(a.possible, b.possible), _join(a.certain, b.certain))
            if e.op == "not":
                a = self.solve(e.args[0])
                return Visible(
                    self._complement(a.certain, self._widened), self._complement(a.possible, _shortened)
                )
            if e.op in ALIKE:
                return self.solve(spread(e))
            if e.op in ("lt", "le", "gt", "ge", "eq", "ne") and e.args[0].type == "int":
                solved = self._compare(e.op, *e.args)
                if solved is not None:
                    return solved
        return Visible(self._if(TRUE), ())

    def _if(self, condition: Expr) -> Spans:
        hi = al.where(condition, self.length, ZERO)
        return () if hi == ZERO else (Span(ZERO, hi),)

    def _complement(self, spans: Spans, limited: Callable[[Spans], Spans]) -> Spans:
        out: Spans = (Span(ZERO, self.length),)
        for s in spans:
            out = limited(_meet(out, (Span(ZERO, s.lo), Span(s.hi, self.length))))
        return out

    def _widened(self, spans: Spans) -> Spans:
        """A superset of ``spans`` within the limits."""
        if len(spans) > MOST_SPANS:
            return (Span(ZERO, self.length),)
        ends = [
            Span(ZERO if _too_large(s.lo) else s.lo, self.length if _too_large(s.hi) else s.hi) for s in spans
        ]
        return spans if tuple(ends) == spans else _join(tuple(ends), ())

    def _compare(self, op: str, a: Expr, b: Expr) -> Visible | None:
        if op == "ne":
            return self.solve(al.negate(Call("eq", (a, b), "bool")))
        if op == "eq":
            return self.solve(al.both(Call("le", (a, b), "bool"), Call("ge", (a, b), "bool")))
        if op in ("gt", "ge"):
            op, a, b = {"gt": "lt", "ge": "le"}[op], b, a
        return self._at_least_zero(al.sub(b, a) if op == "le" else al.sub(al.sub(b, a), ONE))

    def _at_least_zero(self, e: Expr) -> Visible | None:
        """Solve ``e >= 0``: one atom with the axis, ``c * atom + rest``."""
        terms, const = al.affine(e)
        mine = [t for t in terms if self.over in variables(t)]
        if len(mine) != 1:
            return None
        atom, c = mine[0], terms[mine[0]]
        rest = al.from_affine({t: n for t, n in terms.items() if t != atom}, const)
        if atom != Var(self.over, "int"):
            rewritten = _invert(atom, c, rest)
            return None if rewritten is None else self.solve(rewritten)
        low, high = interval(rest, self.given)  # of rest, over the rows
        size = integer(abs(c))
        if c > 0:  # x >= ceil(-rest / c) = -floor(rest / c)
            ends = [None if r is None else al.neg(al.floordiv(r, size)) for r in (low, high)]
            spans = [None if x is None else Span(al.maximum(ZERO, x), self.length) for x in ends]
        else:  # x <= floor(rest / |c|)
            ends = [None if r is None else al.add(al.floordiv(r, size), ONE) for r in (low, high)]
            spans = [
                None if x is None else Span(ZERO, al.maximum(ZERO, al.minimum(self.length, x))) for x in ends
            ]
        certain, possible = spans
        return Visible(
            self._if(TRUE) if possible is None else (possible,), () if certain is None else (certain,)
        )


def _invert(atom: Expr, c: int, rest: Expr) -> Expr | None:
    """``c * atom + rest >= 0`` rewritten without the outermost operator of ``atom``."""
    if not isinstance(atom, Call):
        return None
    size = integer(abs(c))
    bound = al.neg(al.floordiv(rest, size)) if c > 0 else al.floordiv(rest, size)
    cmp = "ge" if c > 0 else "le"  # atom cmp bound

    def atomic(x: Expr) -> Expr:
        return Call(cmp, (x, bound), "bool")

    if atom.op == "floordiv" and (n := al.constant(atom.args[1])) is not None and n > 0:
        scaled = al.mul(integer(n), bound)
        edge = scaled if c > 0 else al.add(scaled, integer(n - 1))
        return Call(cmp, (atom.args[0], edge), "bool")
    if atom.op == "abs":
        x, minus_x = atomic(atom.args[0]), atomic(al.neg(atom.args[0]))
        return al.either(x, minus_x) if c > 0 else al.both(x, minus_x)
    if atom.op in ("min", "max"):
        x, y = map(atomic, atom.args)
        return al.both(x, y) if (atom.op == "min") == (c > 0) else al.either(x, y)
    if atom.op == "where":
        t, x, y = atom.args
        return al.either(al.both(t, atomic(x)), al.both(al.negate(t), atomic(y)))
    return None


def _shortened(spans: Spans) -> Spans:
    """A subset of ``spans`` within the limits."""
    small = [s for s in spans if not _too_large(s.lo) and not _too_large(s.hi)]
    return tuple(small[:MOST_SPANS])


def _too_large(end: Expr) -> bool:
    """Whether an end is too much to compute, or so large by rearranging that 64 bits might not hold it."""
    return larger_than(end, MOST_NODES) or bool(LANGUAGE.leaving(end, MOST_END))


def _nonempty(spans: list[Span]) -> Spans:
    return tuple(dict.fromkeys(s for s in spans if not al.at_most(s.hi, s.lo)))


def _meet(a: Spans, b: Spans) -> Spans:
    pairs = product(a, b)
    return _nonempty([Span(al.maximum(x.lo, y.lo), al.minimum(x.hi, y.hi)) for x, y in pairs])


def _join(a: Spans, b: Spans) -> Spans:
    out: list[Span] = []
    for s in a + b:  # of two spans that contain each other, written differently, one stays
        if not any(_contains(o, s) for o in out):
            out = [o for o in out if not _contains(s, o)] + [s]
    return tuple(out)


def _contains(a: Span, b: Span) -> bool:
    return al.at_most(a.lo, b.lo) and al.at_most(b.hi, a.hi)


def solve(mask: Expr | None, solver: Solver) -> Visible:
    """The sets of a whole mask (None: everything is visible)."""
    everything = (Span(ZERO, solver.length),)
    if mask is None:
        return Visible(everything, everything)
    found = solver.solve(mask)
    possible = found.possible if len(found.possible) <= MAX_SPANS else everything
    return Visible(possible, found.certain[:MAX_SPANS])


def tiles(visible: Visible, side: Expr) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """(full, partial) tile numbers: disjoint ranges each, and disjoint from one another."""
    try:
        visited = _disjoint([Range(_floor(s.lo, side), _ceil(s.hi, side)) for s in visible.possible])
    except _Costly:
        lows, highs = ([getattr(s, end) for s in visible.possible] for end in ("lo", "hi"))
        visited = [Range(_floor(reduce(al.minimum, lows), side), _ceil(reduce(al.maximum, highs), side))]
    for n in range(len(visible.certain), 0, -1):  # a full tile may always count as partial
        try:
            full = _disjoint([Range(_ceil(s.lo, side), _floor(s.hi, side)) for s in visible.certain[:n]])
            return tuple(full), tuple(reduce(_without, full, visited))
        except _Costly:
            continue
    return (), tuple(visited)


class _Costly(Exception):
    """Too many ranges, or too large an end."""


#: Triton's dots need sides of 16, so a constant below 16 never fills a tile.
MIN_SIDE = 16


def _floor(x: Expr, side: Expr) -> Expr:
    return ZERO if al.at_most(x, integer(MIN_SIDE - 1)) else al.floordiv(x, side)


def _ceil(x: Expr, side: Expr) -> Expr:
    if al.at_most(x, integer(MIN_SIDE)):  # one tile, or none where x is 0
        ends = x.args if isinstance(x, Call) and x.op == "min" else (x,)
        out: Expr = ONE
        for e in ends:
            out = al.minimum(out, e)
        return out
    return al.cdiv(x, side)


def _disjoint(ranges: list[Range]) -> list[Range]:
    out: list[Range] = []
    for r in ranges:
        out += reduce(_without, out, [Range(r.lo, al.maximum(r.lo, r.hi))])
    return [r for r in out if not al.at_most(r.hi, r.lo)]


def _without(ranges: Iterable[Range], cut: Range) -> list[Range]:
    out = [piece for r in ranges for piece in _minus(r, cut)]
    if len(out) > MOST_RANGES or any(larger_than(x, MOST_RANGE_NODES) for r in out for x in (r.lo, r.hi)):
        raise _Costly
    return out


def _minus(a: Range, b: Range) -> list[Range]:
    """``a`` without ``b`` (where b.lo <= b.hi): what lies below, what lies above."""
    below = Range(a.lo, al.maximum(a.lo, al.minimum(a.hi, b.lo)))
    above = Range(al.maximum(a.lo, b.hi), a.hi)
    above = Range(above.lo, al.maximum(above.lo, above.hi))
    return [r for r in (below, above) if not al.at_most(r.hi, r.lo)]
