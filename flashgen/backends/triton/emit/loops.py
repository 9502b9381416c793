"""Loops, and what does not change in them and is computed before.

That is the base and the offsets of each tile read in the body, and how many tiles each range of a domain
of several ranges holds: the loop then runs over the ranges one after another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flashgen.backends.listing import Assign, For, Line
from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, Var, integer
from flashgen.ir.program import Coords, Load, Loop, Range, Scalar, Store, Tile, statements
from flashgen.ir.uses import defined_in, result
from flashgen.ir.widths import counting

from .address import total
from .arithmetic import Arithmetic
from .facts import ZERO

if TYPE_CHECKING:
    from .lower import Lower


def loop(body: Lower, s: Loop) -> list[Line]:
    """A loop with what is computed before it."""
    outer_facts, outer_changing = body.facts, body.changing
    counts, head = _domain(body, s)
    body.facts = outer_facts.copy()
    body.changing = outer_changing | {s.var, *defined_in(s.body)}
    hoisted = _hoist(body, s)
    named = dict(body.named)
    body.facts.in_loop |= {s.var, "i"}
    body.facts.extents = counting(s, body.facts.extents)
    if all(outer_facts.non_negative(r.lo) for r in s.domain):
        body.facts.known[s.var] = (ZERO, None)
    inside = (*head.body, *body.lines(s.body))
    body.facts, body.changing, body.named = outer_facts, outer_changing, named
    return [*hoisted, *counts, replace(head, body=inside)]


def _hoist(body: Lower, s: Loop) -> list[Line]:
    """Bases and offsets of the tiles the body touches, as far as the loop leaves them alone."""
    lines: list[Line] = []
    for inner in statements(s.body):
        if isinstance(inner, Coords):
            body.facts.starts[inner.dst.name] = inner.start
        elif isinstance(inner, Scalar):
            body.facts.in_loop.add(inner.name)
        elif isinstance(inner, Load | Store):
            tile = inner.dst if isinstance(inner, Load) else inner.value
            src = inner.src if isinstance(inner, Load) else inner.dst
            a = body.address(inner)
            if len(a.base) > 1 and a.covered:
                lines += body.name(total(a.base), f"{src}_base")[1]
            composed = len(tile.axes) > 1 or (a.offsets and isinstance(total(a.offsets), Call))
            if a.fixed_offsets and a.offsets and composed:
                lines += body.name(total(a.offsets), f"{tile.name}_offsets", tile.axes)[1]
        if (dst := result(inner)) is not None:
            body.facts.tiles[dst.name] = dst
    return lines


def _domain(body: Lower, s: Loop) -> tuple[list[Line], For]:
    """(counts before the loop, the loop with no more than the tile's number in it)."""
    if len(s.domain) == 1:
        (r,) = s.domain
        return [], For(Var(s.var, "int"), body.low.lowered(r.lo), body.low.lowered(r.hi), (), s.note)
    lines: list[Line] = []
    counts: list[Expr] = []
    for i, r in enumerate(s.domain):
        size = _count(body.low, r)
        named, more = body.name(_sum(counts[-1], size) if counts else size, f"{s.mask}_n{i}")
        lines += more
        counts.append(named)
    at = Var(f"i_{s.var}" if "i" in body.facts.in_loop else "i", "int")
    firsts = [body.low.lowered(r.lo) for r in s.domain]
    firsts = [firsts[0], *(_int("sub", lo, n) for lo, n in zip(firsts[1:], counts[:-1], strict=True))]
    number = firsts[-1]
    for first, n in reversed(list(zip(firsts[:-1], counts[:-1], strict=True))):
        number = _int("where", Call("lt", (at, n), "bool"), first, number)
    note = "the tiles of one range after another"
    inside = Assign(Tile(s.var, (), "int"), _int("add", at, number), note)
    return lines, For(at, integer(0), counts[-1], (inside,), s.note)


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
