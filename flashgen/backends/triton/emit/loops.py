"""Loops, and what does not change in them and is computed before.

That is the base and the offsets of each tile read in the body, and how many tiles each range of a domain
of several ranges holds: the loop then runs over the ranges one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashgen.expr import algebra as al
from flashgen.expr.nodes import variables
from flashgen.ir.program import (
    Coords,
    Dot,
    Keep,
    Load,
    Loop,
    Map,
    Range,
    Reduce,
    Scalar,
    Stmt,
    Store,
    statements,
)
from flashgen.ir.uses import defined_in, reads
from flashgen.ir.widths import counting

from .facts import ZERO
from .layout import Line, indented
from .ops import PRODUCT
from .text import Printer

if TYPE_CHECKING:
    from .body import Body


def loop(body: Body, s: Loop) -> list[Line]:
    """A loop with what is computed before it."""
    outer_facts, outer_changing = body.facts, body.changing
    domain, head = _domain(body, s)
    body.facts = outer_facts.copy()
    body.changing = outer_changing | {s.var, *defined_in(s.body)}
    hoisted = _hoist(body, s)
    named = dict(body.named)
    body.facts.in_loop |= {s.var, "i"}
    body.facts.extents = counting(s, body.facts.extents)
    if all(outer_facts.non_negative(r.lo) for r in s.domain):
        body.facts.known[s.var] = (ZERO, None)
    inside = head + body.lines(s.body)
    body.facts, body.changing, body.named = outer_facts, outer_changing, named
    counts, loop = domain[:-1], domain[-1]
    return [*hoisted, *counts, loop, *indented(inside)]


def _hoist(body: Body, s: Loop) -> list[Line]:
    """Bases and offsets of the tiles the body touches, as far as the loop leaves them alone."""
    lines: list[Line] = []
    for inner in statements(s.body):
        match inner:
            case Coords(dst=dst, start=start):
                body.facts.tiles[dst.name] = dst
                body.facts.starts[dst.name] = start
            case Scalar(name=name):
                body.facts.in_loop.add(name)
            case Map(dst=dst) | Reduce(dst=dst) | Dot(dst=dst) | Keep(dst=dst):
                body.facts.tiles[dst.name] = dst
            case Load() | Store():
                tile = inner.dst if isinstance(inner, Load) else inner.value
                src = inner.src if isinstance(inner, Load) else inner.dst
                a = body.address(src, inner.index, tile.axes, None)
                body.facts.tiles[tile.name] = tile
                if a.base and a.covered:
                    lines += body.name(a.fixed, f"{src}_base")[1]
                if a.fixed_offsets and " " in a.offsets:
                    lines += body.name(a.offsets, f"{tile.name}_offsets")[1]
    return lines


def _domain(body: Body, s: Loop) -> tuple[list[Line], list[Line]]:
    """(counts before the loop and its head, the tile number inside)."""
    if len(s.domain) == 1:
        (r,) = s.domain
        facts = {"var": s.var, "lo": body.out.text(r.lo), "hi": body.out.text(r.hi)}
        return [Line(body.render("loop.j2", **facts), None, s.note, gap=True)], []
    counts: list[Line] = []
    names: list[str] = []
    for i, r in enumerate(s.domain):
        sofar = f"{names[-1]} + " if names else ""
        name, lines = body.name(f"{sofar}{_count(body.out, r)}", f"{s.mask}_n{i}")
        counts += lines
        names.append(name)
    at = f"i_{s.var}" if "i" in body.facts.in_loop else "i"
    number = _start(body.out, s.domain[-1], names[-2])
    for r, n, before in reversed(list(zip(s.domain[:-1], names[:-1], [None, *names[:-2]], strict=True))):
        number = f"tl.where({at} < {n}, {_start(body.out, r, before)}, {number})"
    head = body.render("loop.j2", var=at, lo="0", hi=names[-1])
    note = "the tiles of one range after another"
    return [*counts, Line(head, None, s.note, gap=True)], [Line(f"{s.var} = {at} + {number}", s.var, note)]


def _count(out: Printer, r: Range) -> str:
    size = out.text(r.hi) if r.lo == ZERO else f"{out.text(r.hi)} - {out.text(r.lo, (), PRODUCT)}"
    return size if al.at_most(r.lo, r.hi) else f"tl.maximum({size}, 0)"


def _start(out: Printer, r: Range, before: str | None) -> str:
    lo = out.text(r.lo)
    return f"{lo} - {before}" if before else lo


def used_once_next(s: Reduce, rest: tuple[Stmt, ...]) -> bool:
    """Whether a reduction reads best inside the next statement: that is its only use."""
    uses = [n for r in statements(rest) for n in reads(r) if n == s.dst.name]
    following = rest[0] if rest else None
    return len(uses) == 1 and isinstance(following, Map) and s.dst.name in variables(following.value)
