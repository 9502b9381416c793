"""What every statement of a kernel reads, writes and computes, by walking the ``Program``.

``Program`` -> ``Amount``s. Nothing here knows a schedule or a mask. Scalars and the int tiles that guards
look at are put in where they are used, so that an amount depends on lengths, sides, grid points, loop
variables and elements of inputs alone.

A guard is a conjunction. A part that bounds one axis (``k < Nk``) narrows that axis; any other part (``0 <=
bucket(k - q)``) makes its axes sums over their elements, and the part a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.nodes import TRUE, Call, Const, Expr, Read, Var, integer, substitute, variables, walk
from flashgen.expr.ops import OPS
from flashgen.interpret.sums import axes as sum_axes
from flashgen.interpret.sums import plain, unused
from flashgen.ir.program import (
    Coords,
    Dot,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Range,
    Scalar,
    Stmt,
    Store,
    Sum,
    Tile,
    statements,
)
from flashgen.ir.uses import result

from .amount import Amount, Columns, Kind, Over, Span, each_range, summed, terms

#: The type of a tile's elements, where expressions may use them.
INT_TYPES: dict[str, Literal["int", "bool"]] = {"int32": "int", "int64": "int", "bool": "bool"}

#: What a sum does to a place that it adds to.
BOTH: tuple[Kind, Kind] = ("read", "written")


def head_dims(program: Program) -> dict[str, tuple[str, int]]:
    """The axes that are pieces of a head dim: the symbol and the number of its columns."""
    columns = {role: program.tensor(role).dims[-1] for role in ("q", "v")}
    same = columns["q"] == columns["v"]
    out: dict[str, tuple[str, int]] = {}
    for s in (s for k in program.kernels for s in statements(k.body)):
        if isinstance(s, Load | Store):
            name = s.src if isinstance(s, Load) else s.dst
            role, last = program.tensor(name).role, s.index[-1] if s.index else None
            total = columns["v" if role == "v" else "q"]
            if role in ("q", "k", "v") and isinstance(last, Var) and isinstance(total, Const):
                out[last.name] = ("d" if same or role != "v" else "d_v", int(total.value))
    return out


@dataclass
class Walk:
    """One kernel on the way: ``known`` are scalars and int tiles by name, ``starts`` the first element of
    each axis and the name of its coordinates, ``axes`` those of every tile."""

    program: Program
    kernel: Kernel
    heads: dict[str, tuple[str, int]]
    out: list[Amount] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    loops: tuple[tuple[str, tuple[Range, ...]], ...] = ()

    def run(self) -> list[Amount]:
        """The amounts of every statement, over the whole grid."""
        zero = integer(0)
        self.loops = tuple((g.name, (Range(zero, g.extent),)) for g in self.kernel.grid)
        self._body(self.kernel.body, {}, {})
        return self.out

    def size(self, axis: str) -> Expr:
        """The side of a tile axis."""
        return next(a.size for a in self.kernel.axes if a.name == axis)

    def _body(
        self, body: tuple[Stmt, ...], known: dict[str, Expr], starts: dict[str, tuple[str, Expr]]
    ) -> None:
        known, starts = dict(known), dict(starts)
        for s in body:
            if isinstance(s, Scalar):
                known[s.name] = substitute(s.value, known)
            elif isinstance(s, Coords):
                _coordinates(s, known, starts)
            elif isinstance(s, Load):
                self._access("read", s.src, s.dst, s.guard, known, starts)
                if s.dst.dtype in INT_TYPES:
                    known[s.dst.name] = _loaded(s, known)
            elif isinstance(s, Store):
                self._access("written", s.dst, s.value, s.guard, known, starts)
            elif isinstance(s, Map):
                self._exponentials(s.value)
                if s.dst.dtype in INT_TYPES:
                    known[s.dst.name] = substitute(s.value, known)
            elif isinstance(s, Dot):
                if s.acc is not None:
                    self._exponentials(s.acc)
                self._work("flops", 2, (*s.dst.axes, s.contract))
            elif isinstance(s, Loop):
                outer = self.loops
                domain = tuple(Range(substitute(r.lo, known), substitute(r.hi, known)) for r in s.domain)
                self.loops = (*outer, (s.var, domain))
                self._body(s.body, known, starts)
                self.loops = outer
            if (dst := result(s)) is not None:
                self.axes[dst.name] = dst.axes

    def _exponentials(self, e: Expr) -> None:
        for n in dict.fromkeys(walk(e)):
            times = OPS[n.op].exponentials if isinstance(n, Call) else 0
            if times:
                axes = {a for v in variables(n) for a in self.axes.get(v, ())}
                self._work("exponentials", times, tuple(sorted(axes)))

    def _work(self, kind: Kind, times: int, axes: tuple[str, ...]) -> None:
        found = Amount(kind, "", times)
        for axis in axes:
            found = self._whole(found, axis)
        self._add(found)

    def _whole(self, a: Amount, axis: str) -> Amount:
        """``a`` times the side of ``axis``."""
        size = self.size(axis)
        if axis in self.heads and isinstance(size, Const):
            symbol, total = self.heads[axis]
            return replace(a, columns=(*a.columns, Columns(symbol, int(size.value), total)))
        if isinstance(size, Const):
            return replace(a, times=a.times * int(size.value))
        return replace(a, sides=(*a.sides, size))

    def _add(self, a: Amount) -> None:
        self.out += [summed(x) for x in each_range(a, self.loops)]

    def _access(
        self, kind: Kind, tensor: str, tile: Tile, guard: Expr | None, known: dict[str, Expr],
        starts: dict[str, tuple[str, Expr]],
    ) -> None:  # fmt: skip
        """The elements of ``tile`` that ``guard`` lets through."""
        found = Amount(kind, tensor)
        boxes = {a: self._box(a, starts) for a in tile.axes}
        tests: list[Expr] = []
        for part in conjuncts(guard):
            inlined = substitute(part, known)
            if any(v in self.axes for v in variables(inlined)):
                self.unknown.add(f"{tensor} in {self.kernel.name}")
                continue  # a guard over computed floats: every element counts
            end = _bound(inlined)
            if end is None or end[0] not in boxes:
                tests.append(inlined)
                continue
            axis, first, last = end
            lows, highs = boxes[axis]
            boxes[axis] = ((*lows, *first), (*highs, *last))
        tested = {v[1:] for t in tests for v in variables(t) if v.startswith("@")}
        for axis in tile.axes:
            lows, highs = boxes[axis]
            if axis in tested:
                lo, hi = lows[0], highs[0]
                tests += [_compare(low, "le", axis) for low in lows[1:]]
                tests += [_compare(high, "gt", axis) for high in highs[1:]]
                found = replace(found, over=(*found.over, Over(f"@{axis}", Range(lo, hi))))
            elif len(lows) == len(highs) == 1:
                found = self._whole(found, axis)
            else:
                found = self._cut(found, axis, Span(lows, highs))
        self._add(replace(found, tests=tuple(tests)))

    def _box(
        self, axis: str, starts: dict[str, tuple[str, Expr]]
    ) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        first = starts[axis][1] if axis in starts else integer(0)
        return (first,), (al.add(first, self.size(axis)),)

    def _cut(self, a: Amount, axis: str, span: Span) -> Amount:
        """``a`` times the elements of ``axis`` in ``span``."""
        ends = [al.constant(e) for e in (*span.lows, *span.highs)]
        numbers = [n for n in ends if n is not None]
        if axis in self.heads and len(numbers) == len(ends):
            n = max(0, min(numbers[len(span.lows) :]) - max(numbers[: len(span.lows)]))
            symbol, total = self.heads[axis]
            return replace(a, columns=(*a.columns, Columns(symbol, n, total)))
        return replace(a, spans=(*a.spans, span))


def _coordinates(s: Coords, known: dict[str, Expr], starts: dict[str, tuple[str, Expr]]) -> None:
    """The elements of an axis are named by its first coordinates; others lie a distance from those."""
    (axis,), start = s.dst.axes, substitute(s.start, known)
    at = Var(f"@{axis}", "int")
    if axis in starts and starts[axis][0] != s.dst.name:
        known[s.dst.name] = al.add(at, al.sub(start, starts[axis][1]))
    else:
        starts[axis] = s.dst.name, start
        known[s.dst.name] = at


def _loaded(s: Load, known: dict[str, Expr]) -> Expr:
    """The value of a loaded int, or bool: the input's element, or the fill."""
    kind = INT_TYPES[s.dst.dtype]
    value: Expr = Read(s.src, tuple(substitute(i, known) for i in s.index), kind)
    if s.guard is None:
        return value
    fill: Expr = Const(bool(s.fill), "bool") if kind == "bool" else integer(int(s.fill))
    return Call("where", (substitute(s.guard, known), value, fill), kind)


def conjuncts(e: Expr | None) -> list[Expr]:
    """The parts of a guard, all of which hold for an element."""
    if e is None or e == TRUE:
        return []
    if isinstance(e, Call) and e.op == "and":
        return [part for side in e.args for part in conjuncts(side)]
    return [e]


def _compare(end: Expr, op: str, axis: str) -> Expr:
    return Call(op, (end, Var(f"@{axis}", "int")), "bool")


def _bound(e: Expr) -> tuple[str, tuple[Expr, ...], tuple[Expr, ...]] | None:
    """The axis that ``e`` bounds, with the first element it lets through or the one past the last."""
    if (
        not isinstance(e, Call)
        or e.op not in ("lt", "le", "gt", "ge")
        or any(a.type != "int" for a in e.args)
    ):
        return None
    a, b = e.args if e.op in ("lt", "le") else e.args[::-1]
    strict = e.op in ("lt", "gt")
    gap = al.sub(b, a)  # e holds where gap > 0, or >= 0
    ours = [v for v in variables(gap) if v.startswith("@")]
    if len(ours) != 1:
        return None
    x = Var(ours[0], "int")
    coefficient = terms(gap).get((x,), 0)
    rest = al.sub(gap, al.mul(integer(coefficient), x))
    if abs(coefficient) != 1 or x.name in variables(rest):
        return None
    if coefficient < 0:  # x < rest, or x <= rest
        return x.name[1:], (), (rest if strict else al.add(rest, integer(1)),)
    low = al.neg(rest)
    return x.name[1:], (al.add(low, integer(1)) if strict else low,), ()


def sum_amounts(program: Program, s: Sum) -> list[Amount]:
    """A sum after the kernels: all of the workspace once, and a read and a write of each place it adds to."""
    source, target = program.tensor(s.src), program.tensor(s.dst)
    lengths = dict(zip(s.axes, source.dims, strict=True))
    out = [_dims(Amount("read", s.src), source.dims)]
    if plain(s):
        kept = {e.name for e in s.index if isinstance(e, Var)}
        grouped = {"hkv": Var("Hkv", "int")} if "hkv" in sum_axes(s) else {}
        sizes = tuple((lengths | grouped)[a] for a in sum_axes(s) if a in kept)
        return out + [_dims(Amount(kind, s.dst), sizes) for kind in BOTH]
    idle = {s.axes[i] for i in unused(s)}
    over = tuple(Over(a, Range(integer(0), n)) for a, n in lengths.items() if a not in idle)
    group = Call("floordiv", (Var("Hq", "int"), Var("Hkv", "int")), "int")
    own: dict[str, Expr] = (
        {} if "hkv" in s.axes else {"hkv": Call("floordiv", (Var("h", "int"), group), "int")}
    )
    tests: list[Expr] = []
    for e, n in zip(s.index, target.dims, strict=True):
        at = substitute(e, own)
        if isinstance(at, Var) and lengths.get(at.name) == n:
            continue
        tests += [Call("ge", (at, integer(0)), "bool"), Call("lt", (at, n), "bool")]
    return out + [summed(Amount(k, s.dst, tests=tuple(tests), over=over)) for k in BOTH]


def _dims(a: Amount, dims: tuple[Expr, ...]) -> Amount:
    numbers = [int(n.value) for n in dims if isinstance(n, Const)]
    sides = tuple(n for n in dims if not isinstance(n, Const))
    return replace(a, times=a.times * math.prod(numbers), sides=(*a.sides, *sides))
