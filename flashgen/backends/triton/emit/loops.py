"""Loops over tiles: how many tiles each range of a domain of several ranges holds is counted before, and the
loop runs over the ranges one after another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flashgen.backends.listing import Assign, For
from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, Var, integer
from flashgen.ir.program import Loop, Range, Tile
from flashgen.ir.uses import defined_in
from flashgen.ir.widths import counting

from .arithmetic import Arithmetic
from .facts import ZERO

if TYPE_CHECKING:
    from .lower import Lower


def loop(body: Lower, s: Loop) -> For:
    """A loop, with the counts that its bounds take."""
    outer_facts, outer_changing = body.facts, body.changing
    head = _head(body, s)
    body.facts = outer_facts.copy()
    body.changing = outer_changing | {s.var, *defined_in(s.body)}
    body.facts.in_loop |= {s.var, "i"}
    body.facts.extents = counting(s, body.facts.extents)
    if all(outer_facts.non_negative(r.lo) for r in s.domain):
        body.facts.known[s.var] = (ZERO, None)
    inside = (*head.body, *body.lines(s.body))
    body.facts, body.changing = outer_facts, outer_changing
    return replace(head, body=inside)


def _head(body: Lower, s: Loop) -> For:
    """The loop with no more than the tile's number in it."""
    if len(s.domain) == 1:
        (r,) = s.domain
        return For(Var(s.var, "int"), body.low.lowered(r.lo), body.low.lowered(r.hi), (), s.note)
    before: list[Assign] = []
    counts: list[Expr] = []
    for i, r in enumerate(s.domain):
        size = _count(body.low, r)
        before.append(body.name(_sum(counts[-1], size) if counts else size, f"{s.mask}_n{i}"))
        counts.append(Var(before[-1].dst.name, "int"))
    at = Var(f"i_{s.var}" if "i" in body.facts.in_loop else "i", "int")
    firsts = [body.low.lowered(r.lo) for r in s.domain]
    firsts = [firsts[0], *(_int("sub", lo, n) for lo, n in zip(firsts[1:], counts[:-1], strict=True))]
    number = firsts[-1]
    for first, n in reversed(list(zip(firsts[:-1], counts[:-1], strict=True))):
        number = _int("where", Call("lt", (at, n), "bool"), first, number)
    note = "the tiles of one range after another"
    inside = Assign(Tile(s.var, (), "int"), _int("add", at, number), note)
    return For(at, integer(0), counts[-1], (inside,), s.note, tuple(before))


def _int(op: str, *args: Expr) -> Expr:
    return Call(op, args, "int")


def _sum(a: Expr, b: Expr) -> Expr:
    """a + b, where b is a difference a + b.first - b.second."""
    if isinstance(b, Call) and b.op in ("add", "sub"):
        return _int(b.op, _sum(a, b.args[0]), b.args[1])
    return _int("add", a, b)


def _count(low: Arithmetic, r: Range) -> Expr:
    hi, lo = low.lowered(r.hi), low.lowered(r.lo)
    size = hi if r.lo == ZERO else _int("sub", hi, lo)
    return size if al.at_most(r.lo, r.hi) else _int("max", size, integer(0))
