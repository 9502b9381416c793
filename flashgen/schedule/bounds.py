"""The scalars of a kernel that visits the k tiles of one q tile, or the q tiles of one k tile: the mask's
bounds, by name.

From the mask's solved sets (``domains``) to named program scalars, so that the kernel reads
``for j in range(0, full_hi)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.nodes import TRUE, Call, Const, Expr, Read, Var, walk
from flashgen.expr.terms import ZERO, index, replace
from flashgen.ir.program import Range, Scalar

from .domains import Solver, Span, solve, tiles
from .unseen import EVERYTHING, unseen


@dataclass(frozen=True)
class Side:
    """The axis a loop runs over, the other one, whose tile is given, and the length and side of the first."""

    over: str
    given: str
    length: Expr
    block: Expr


KEYS = Side("k", "q", index("Nk"), index("BLOCK_N"))
QUERIES = Side("q", "k", index("Nq"), index("BLOCK_M"))


@dataclass(frozen=True)
class Bounds:
    """What the loops over tiles need. ``inside`` guards loads of partial tiles, ``visible`` is the mask
    they apply; ``longest`` is a kernel's: the grid axis of the given tiles, and at which of its ends they
    visit the most. Over keys, ``seen`` guards those that are summed up, and reads inputs; in tiles outside of
    ``proved`` it lets some pass that no query sees."""

    scalars: tuple[Scalar, ...]
    full: tuple[Range, ...]
    partial: tuple[Range, ...]
    inside: Expr
    seen: Expr
    proved: Range
    visible: Expr
    rows_may_be_empty: bool
    longest: tuple[str, Literal["first", "last"]] | None

    @property
    def clean(self) -> bool:
        """Whether ``inside`` alone keeps all keys out that no query sees."""
        return self.seen == self.inside and self.proved == EVERYTHING

    @property
    def visited(self) -> bool:
        """Whether there is a tile that may be visited."""
        return bool(self.full or self.partial)


def inside(side: Side) -> Expr:
    """``k < Nk``, or ``q < Nq``."""
    return Call("lt", (index(side.over), side.length), "bool")


def mask_bounds(mask: Expr | None, side: Side = KEYS) -> Bounds:
    """The bounds of ``mask``, whose one-per-program reads are already values."""
    lo, hi = index(f"{side.given}_lo"), index(f"{side.given}_hi")
    found = solve(mask, Solver(side.over, side.length, {side.given: (lo, hi)}))
    full, partial = tiles(found, side.block)

    names: dict[Expr, Expr] = {}
    scalars: list[Scalar] = []

    def name(wanted: str, e: Expr, note: str = "") -> Expr:
        if not isinstance(e, Const | Var) and e not in names:
            scalars.append(Scalar(wanted, replace(e, names), note))
            names[e] = index(wanted)
        return names.get(e, e)

    x = index(side.over)
    begin = _hull([s.lo for s in found.possible], al.minimum)
    end = _hull([s.hi for s in found.possible], al.maximum)
    guard = inside(side)
    seen = "no row of this tile sees a key" if side is KEYS else "no query sees a key of this tile"
    if _reads_inputs(end):  # what lies past such a bound is padding and may hold anything: 0 * NaN is NaN
        guard = Call("lt", (x, name(f"{side.over}_end", end, f"{seen} from here on")), "bool")
    if _reads_inputs(begin):
        first = name(f"{side.over}_begin", begin, f"{seen} before")
        guard = al.both(Call("ge", (x, first), "bool"), guard)

    def named(ranges: tuple[Range, ...], kind: str) -> tuple[Range, ...]:
        many = len(ranges) > 1
        return tuple(
            Range(name(f"{kind}_lo{i if many else ''}", r.lo), name(f"{kind}_hi{i if many else ''}", r.hi))
            for i, r in enumerate(ranges)
        )

    full, partial = named(full, "full"), named(partial, "partial")
    passed, proved = guard, EVERYTHING
    if side is KEYS:
        found_unseen = unseen(mask)
        extra = [e for e in found_unseen.seen if not _bounded(e, begin, end, lo, hi)]
        passed, proved = al.both(guard, *extra), found_unseen.proved
    if proved.lo != EVERYTHING.lo:
        note = "from here on the query that stands at a key sees it"
        proved = Range(name("seen_lo", proved.lo, note), proved.hi)
    if proved.hi not in (EVERYTHING.hi, ZERO):
        proved = Range(
            proved.lo, name("seen_hi", proved.hi, "up to here the query that stands at a key sees it")
        )
    alone = mask is not None and _stays_inside(mask, side)
    longest: tuple[str, Literal["first", "last"]] | None = None
    tiles_of = f"{side.given}_tile"
    if begin == ZERO and hi in set(walk(end)):
        longest = tiles_of, "last"
    elif end == side.length and lo in set(walk(begin)):
        longest = tiles_of, "first"
    return Bounds(
        scalars=tuple(scalars),
        full=full,
        partial=partial,
        inside=guard,
        seen=passed,
        proved=proved,
        visible=mask if mask is not None and alone else al.both(mask or TRUE, inside(side)),
        rows_may_be_empty=mask is not None,
        longest=longest,
    )


def _bounded(e: Expr, begin: Expr, end: Expr, lo: Expr, hi: Expr) -> bool:
    """Whether the guard by ``begin`` and ``end`` implies a condition of keys alone."""
    found = solve(e, Solver("k", KEYS.length, {"q": (lo, hi)}))
    if found.possible != found.certain or len(found.possible) != 1:
        return False
    (span,) = found.possible
    below = span.hi == KEYS.length or (_reads_inputs(end) and al.at_most(end, span.hi))
    return below and (span.lo == ZERO or (_reads_inputs(begin) and al.at_most(span.lo, begin)))


def _hull(ends: list[Expr], pick: Callable[[Expr, Expr], Expr]) -> Expr:
    return reduce(pick, ends) if ends else ZERO


def _reads_inputs(e: Expr) -> bool:
    plain = {"q_lo", "q_hi", "k_lo", "k_hi", "Nq", "Nk"}
    return any(isinstance(n, Read) or (isinstance(n, Var) and n.name not in plain) for n in walk(e))


def _stays_inside(mask: Expr, side: Side) -> bool:
    """Whether the mask alone hides everything from the length on, for each row in itself."""
    row = {side.given: (index(side.given), index(side.given))}
    spans: tuple[Span, ...] = solve(mask, Solver(side.over, side.length, row)).possible
    return all(_below(s.hi, side.length) for s in spans)


def _below(hi: Expr, length: Expr) -> bool:
    """Whether the end of a span is at most ``length`` without having been cut to it."""
    if isinstance(hi, Call) and hi.op == "min":
        return any(_below(a, length) for a in hi.args)
    if isinstance(hi, Call) and hi.op in ("max", "where"):
        return all(_below(a, length) for a in hi.args[-2:])
    return hi != length and al.at_most(hi, length)
