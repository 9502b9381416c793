"""Keys that no query sees: which a mask may leave in visited tiles, by proof.

Such a key may hold anything, NaN too (padding, unused pages of a cache), and 0 * NaN is NaN: sums over keys
must leave it out. Mostly nothing needs to be done, since some query of the call is known to see each key:

    last row, first row    under ``causal`` the last query sees every key
    own row                under ``doc[b, k] == doc[b, qpos]`` the query that stands at a key sees it, if
                           there is one: all keys but those before the first query
    given rows             ``k < n[b]`` has no row in it; of ``k + 2 <= qpos`` the last row sees the most

What stays unproved is left out by its weights (``scrub``).
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr import algebra as al
from flashgen.expr.interval import interval
from flashgen.expr.nodes import TRUE, Call, Expr, integer, rewrite, substitute, variables
from flashgen.expr.terms import ZERO, index
from flashgen.ir.program import Range

from .domains import Solver, Span, solve

Q, K, NQ, NK, BLOCK_N = (index(n) for n in ("q", "k", "Nq", "Nk", "BLOCK_N"))
FIRST, LAST = index("q_lo"), index("q_hi")
KEY_TILES = al.cdiv(NK, BLOCK_N)


@dataclass(frozen=True)
class Unseen:
    """``seen``: conditions that a key meets if and only if some row of the tile sees it, as far as they are
    known. ``proved``: the k tiles of which that is all, or of which some query of the call sees each key."""

    seen: tuple[Expr, ...]
    proved: Range


NOTHING = Range(ZERO, ZERO)
EVERYTHING = Range(ZERO, KEY_TILES)


def unseen(mask: Expr | None) -> Unseen:
    """What is known of the keys of a tile of queries ``q_lo .. q_hi`` under ``mask``."""
    parts = conjuncts(mask)
    alone = tuple(e for e in parts if "q" not in variables(e))
    rest = al.both(*(e for e in parts if "q" in variables(e)))
    if rest == TRUE or any(_holds(rest, row) for row in (al.sub(NQ, integer(1)), ZERO)):
        return Unseen(alone, EVERYTHING)
    if _holds(rest, al.add(K, al.sub(NQ, NK))):  # rows from 0 on
        before = al.maximum(ZERO, al.sub(NK, NQ))
        return Unseen(alone, Range(al.cdiv(before, BLOCK_N), KEY_TILES))
    if _holds(rest, K):  # rows below Nq
        longer = Call("lt", (NQ, NK), "bool")
        return Unseen(alone, Range(ZERO, al.where(longer, al.floordiv(NQ, BLOCK_N), KEY_TILES)))
    by_rows = _by_some_row(rest)
    return Unseen(alone, NOTHING) if by_rows is None else Unseen((*alone, by_rows), EVERYTHING)


def split(ranges: tuple[Range, ...], proved: Range) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """``ranges`` of tiles inside and outside of ``proved``, which begins at 0 or is up to the last tile."""
    if proved in (EVERYTHING, NOTHING):
        return (ranges, ()) if proved == EVERYTHING else ((), ranges)
    if proved.lo == ZERO:
        inside = tuple(Range(r.lo, al.minimum(r.hi, proved.hi)) for r in ranges)
        return inside, tuple(Range(al.maximum(r.lo, proved.hi), r.hi) for r in ranges)
    inside = tuple(Range(al.maximum(r.lo, proved.lo), r.hi) for r in ranges)
    return inside, tuple(Range(r.lo, al.minimum(r.hi, proved.lo)) for r in ranges)


def conjuncts(mask: Expr | None) -> list[Expr]:
    """The conditions of which all must hold."""
    if mask is None or mask == TRUE:
        return []
    if isinstance(mask, Call) and mask.op == "and":
        return [e for a in mask.args for e in conjuncts(a)]
    return [mask]


def _holds(mask: Expr, row: Expr) -> bool:
    """Whether ``row`` provably sees every key."""
    at_row = rewrite(substitute(mask, {"q": row}), lambda n: al.simplify(n) if n.type == "int" else None)
    certain, _ = interval(at_row, {})
    return certain is not None and _always(certain)


def _always(e: Expr) -> bool:
    """Whether a condition is provably true for all keys and lengths."""
    if not isinstance(e, Call):
        return e == TRUE
    if e.op == "and":
        return all(map(_always, e.args))
    if e.op == "or":
        return any(map(_always, e.args))
    if e.op in ("lt", "le", "gt", "ge") and e.args[0].type == "int":
        a, b = e.args if e.op in ("lt", "le") else e.args[::-1]
        return al.at_most(al.add(a, integer(1)) if e.op in ("lt", "gt") else a, b)
    return False


def _by_some_row(mask: Expr) -> Expr | None:
    """That some row of ``q_lo .. q_hi`` sees the key, where the rows that do are known exactly."""
    found = solve(mask, Solver("q", NQ, {"k": (K, K)}))
    if found.possible != found.certain or not found.possible:
        return None
    return al.either(*map(_meets_rows, found.possible))


def _meets_rows(s: Span) -> Expr:
    """That a span of rows, which lies within 0 .. Nq, has one of ``q_lo .. q_hi``."""
    los = [e for e in _ends(s.lo, "max") if e != ZERO]
    his = [e for hi in _ends(s.hi, "max") if hi != ZERO for e in _ends(hi, "min") if e != NQ]
    pairs = [(lo, hi) for lo in los for hi in his if not al.at_most(al.add(lo, integer(1)), hi)]
    return al.both(
        *(Call("le", (lo, LAST), "bool") for lo in los),
        *(Call("gt", (hi, FIRST), "bool") for hi in his),
        *(Call("lt", pair, "bool") for pair in pairs),
    )


def _ends(e: Expr, op: str) -> list[Expr]:
    """What a maximum, or a minimum, is of."""
    if isinstance(e, Call) and e.op == op:
        return [x for a in e.args for x in _ends(a, op)]
    return [e]
