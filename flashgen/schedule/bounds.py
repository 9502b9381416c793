"""The scalars of a kernel that visits the k tiles of one q tile: the mask's bounds, by name.

From the mask's solved sets (``domains``) to named program scalars, so that the kernel reads
``for j in range(0, full_hi)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashgen.expr import algebra as al
from flashgen.expr.nodes import TRUE, Call, Const, Expr, Read, Var, walk
from flashgen.ir.program import Range, Scalar

from .domains import Solver, Span, solve, tiles
from .terms import ZERO, index, replace

NK, K = index("Nk"), index("k")


@dataclass(frozen=True)
class KeyBounds:
    """What the loops over keys need. ``inside`` guards loads of partial tiles, ``visible`` is the mask
    they apply, ``grows`` tells that later rows see more keys."""

    scalars: tuple[Scalar, ...]
    full: tuple[Range, ...]
    partial: tuple[Range, ...]
    inside: Expr
    visible: Expr
    rows_may_be_empty: bool
    grows: bool


def in_length() -> Expr:
    """``k < Nk``."""
    return Call("lt", (K, NK), "bool")


def key_bounds(mask: Expr | None) -> KeyBounds:
    """The bounds of ``mask``, whose one-per-program reads are already values."""
    rows = {"q": (index("q_lo"), index("q_hi"))}
    found = solve(mask, Solver("k", NK, rows))
    full, partial = tiles(found, index("BLOCK_N"))

    names: dict[Expr, Expr] = {}
    scalars: list[Scalar] = []

    def name(wanted: str, e: Expr, note: str = "") -> Expr:
        if not isinstance(e, Const | Var) and e not in names:
            scalars.append(Scalar(wanted, replace(e, names), note))
            names[e] = index(wanted)
        return names.get(e, e)

    begin = _hull([s.lo for s in found.possible], al.minimum)
    end = _hull([s.hi for s in found.possible], al.maximum)
    inside = in_length()
    if _reads_inputs(end):  # keys past such a bound are padding and may hold anything: 0 * NaN is NaN
        k_end = name("k_end", end, "no row of this tile sees a key from here on")
        inside = Call("lt", (K, k_end), "bool")
    if _reads_inputs(begin):
        k_begin = name("k_begin", begin, "no row of this tile sees a key before")
        inside = al.both(Call("ge", (K, k_begin), "bool"), inside)

    def named(ranges: tuple[Range, ...], kind: str) -> tuple[Range, ...]:
        many = len(ranges) > 1
        return tuple(
            Range(name(f"{kind}_lo{i if many else ''}", r.lo), name(f"{kind}_hi{i if many else ''}", r.hi))
            for i, r in enumerate(ranges)
        )

    full, partial = named(full, "full"), named(partial, "partial")
    visible = mask if mask is not None and _stays_inside(mask) else al.both(mask or TRUE, in_length())
    return KeyBounds(
        scalars=tuple(scalars),
        full=full,
        partial=partial,
        inside=inside,
        visible=visible,
        rows_may_be_empty=mask is not None,
        grows=begin == ZERO and index("q_hi") in set(walk(end)),
    )


def _hull(ends: list[Expr], pick: object) -> Expr:
    out = ends[0] if ends else ZERO
    for e in ends[1:]:
        out = pick(out, e)  # type: ignore[operator]
    return out


def _reads_inputs(e: Expr) -> bool:
    plain = {"q_lo", "q_hi", "Nq", "Nk"}
    return any(isinstance(n, Read) or (isinstance(n, Var) and n.name not in plain) for n in walk(e))


def _stays_inside(mask: Expr) -> bool:
    """Whether the mask alone hides every key from Nk on, for each row in itself."""
    row = {"q": (index("q"), index("q"))}
    spans: tuple[Span, ...] = solve(mask, Solver("k", NK, row)).possible
    return all(_below_length(s.hi) for s in spans)


def _below_length(hi: Expr) -> bool:
    """Whether the end of a span is at most Nk without having been cut to it."""
    if isinstance(hi, Call) and hi.op == "min":
        return any(map(_below_length, hi.args))
    if isinstance(hi, Call) and hi.op in ("max", "where"):
        return all(map(_below_length, hi.args[-2:]))
    return hi != NK and al.at_most(hi, NK)
