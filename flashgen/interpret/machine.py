"""One kernel on chip: its statements, on torch tensors, for many programs at once.

All programs of a kernel that differ only in batch and head (query head or KV head) run at once: every value
has two leading dims (B, H), of size 1 where it does not vary. The other grid axes are Python loops. Batch
and heads are cut into chunks that keep a tile's values in cache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import torch

from flashgen.expr.evaluate import evaluate_torch
from flashgen.expr.nodes import Const, Expr, Read, Var
from flashgen.expr.ops import Op
from flashgen.ir.philox import kept
from flashgen.ir.program import (
    Coords,
    Dot,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Range,
    Reduce,
    Scalar,
    Stmt,
    Store,
    Tile,
    statements,
)

from .access import gather, read_slice, scatter, tile_number, write
from .aligned import Aligned
from .traffic import Chip, Traffic

Value: TypeAlias = "torch.Tensor | int | float | bool"
#: Bytes of a tile element on chip where they do not follow from q's dtype.
ON_CHIP_BYTES = {"int32": 4, "int64": 8, "bool": 1}


def no_reads(read: Read, index: tuple[Value, ...]) -> Value:
    raise AssertionError(f"{read.name} is read outside a load")


@dataclass
class Machine:
    """One kernel on chip: ``env`` holds scalars and tiles, tiles as (B|1, H|1, *sides)."""

    kernel: Kernel
    memory: dict[str, torch.Tensor]
    known: Mapping[str, Value]
    acc: torch.dtype
    elem: torch.dtype
    check: bool
    traffic: Traffic
    env: dict[str, Value] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    starts: dict[str, Expr] = field(default_factory=dict)
    sides: dict[str, int] = field(default_factory=dict)  # of tiles, by axis
    programs: tuple[int, int] = (1, 1)  # batches and heads that run at once
    active: torch.Tensor | None = None  # (B|1, H|1): programs still looping, None for all
    written: frozenset[str] = frozenset()  # the tensors that the kernel stores to

    def launch(self, chunk_bytes: int) -> None:
        """Every point of the grid."""
        self.sides = {a.name: int(self.number(a.size)) for a in self.kernel.axes}
        self.written = frozenset(s.dst for s in statements(self.kernel.body) if isinstance(s, Store))
        extents = {a.name: int(self.number(a.extent)) for a in self.kernel.grid}
        batch, head = self._lead("b"), self._lead("h", "hkv")
        rest = [a.name for a in self.kernel.grid if a.name not in (batch, head)]
        for (b0, b1), (h0, h1) in self._chunks(extents.get(batch, 1), extents.get(head, 1), chunk_bytes):
            for point in product(*(range(extents[n]) for n in rest)):
                self.env = Chip(self.known) if self.check else dict(self.known)
                self.env |= dict(zip(rest, point, strict=True))
                self.env[batch] = torch.arange(b0, b1).view(-1, 1)
                self.env[head] = torch.arange(h0, h1).view(1, -1)
                self.programs = b1 - b0, h1 - h0
                self.active = None
                self.execute(self.kernel.body)
                if isinstance(self.env, Chip):
                    self.traffic.on_chip = max(self.traffic.on_chip, self.env.most())

    def _lead(self, *names: str) -> str:
        """The grid's axis of one of ``names``; a kernel without it has one program along it."""
        return next((a.name for a in self.kernel.grid if a.name in names), f"no {names[0]}")

    def _chunks(
        self, batch: int, heads: int, limit: int
    ) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        sides = [self.sides[a.name] for a in self.kernel.axes[:2]]
        fit = max(1, limit // (4 * max(1, sides[0] * sides[-1])))
        h_step = max(1, min(heads, fit))
        b_step = max(1, min(batch, fit // h_step))
        for b in range(0, batch, b_step):
            for h in range(0, heads, h_step):
                yield (b, min(b + b_step, batch)), (h, min(h + h_step, heads))

    def number(self, e: Expr) -> Any:
        """A scalar expression: a Python number, or (B|1, H|1) where it differs between programs."""
        if isinstance(e, Const):
            return e.value
        if isinstance(e, Var):
            return self.env.get(e.name, self.known.get(e.name))
        return evaluate_torch(e, self.env or self.known, no_reads, self.acc)

    def over(self, e: Expr, axes: tuple[str, ...]) -> Value:
        """An expression over tiles, its values broadcastable to (B, H, *axes)."""
        seen = self._exponentials if self.check else None
        return evaluate_torch(e, Aligned(self.env, self.tiles, axes), no_reads, self.acc, seen=seen)

    def execute(self, body: tuple[Stmt, ...]) -> None:
        """Statements in order."""
        for s in body:
            if isinstance(self.env, Chip):
                self.env.step()
            match s:
                case Scalar():
                    self.env[s.name] = self.number(s.value)
                case Coords():
                    self._coords(s)
                case Load():
                    self._assign(s.dst, self._load(s))
                case Store():
                    self._store(s)
                case Map():
                    self._assign(s.dst, self.over(s.value, s.dst.axes), in_place=True)
                case Dot():
                    self._assign(s.dst, self._dot(s), in_place=True)
                case Reduce():
                    axis = 2 + s.src.axes.index(s.axis)
                    src = self.env[s.src.name]
                    assert isinstance(src, torch.Tensor)
                    self._assign(s.dst, src.amax(axis) if s.op == "max" else src.sum(axis))
                case Keep():
                    self._assign(s.dst, self._keep(s))
                case Loop():
                    self._loop(s)

    def _assign(self, dst: Tile, value: Value, in_place: bool = False) -> None:
        if not isinstance(value, torch.Tensor):
            value = torch.tensor(value, dtype=self.acc if isinstance(value, float) else None)
        if value.dim() < 2 + len(dst.axes):
            value = value.reshape((1, 1) + (1,) * (len(dst.axes) - max(0, value.dim() - 2)) + value.shape[2:])
        if dst.dtype == "elem":
            value = value.to(self.elem)
        if dst.dtype in ("elem", "acc"):  # products of rounded elements are exact in the wider type
            value = value.to(self.acc)
        shape = (*value.shape[:2], *(self.side(a) for a in dst.axes))
        self.env[dst.name] = value if value.shape == shape else value.expand(shape)
        self.tiles[dst.name] = dst
        if isinstance(self.env, Chip) and dst.axes:
            item = {"elem": self.elem, "acc": self.acc}.get(dst.dtype)
            size = math.prod(shape[2:]) * (item.itemsize if item else ON_CHIP_BYTES[dst.dtype])
            self.env.make(dst, size, in_place)

    def side(self, axis: str) -> int:
        """The length of a tile axis."""
        return self.sides[axis]

    def _coords(self, s: Coords) -> None:
        start = self.number(s.start)
        line = torch.arange(self.side(s.dst.axes[0])).view(1, 1, -1)
        self.starts[s.dst.name] = s.start
        self.tiles[s.dst.name] = s.dst
        self.env[s.dst.name] = line + (start.unsqueeze(-1) if isinstance(start, torch.Tensor) else start)

    def _position(self, e: Expr) -> Any:
        """An index entry: a slice for a uniform ``Coords`` tile, else numbers."""
        if isinstance(e, Var) and e.name in self.starts:
            start = self.number(self.starts[e.name])
            if not isinstance(start, torch.Tensor):
                return slice(start, start + self.side(self.tiles[e.name].axes[0]))
        return self.number(e)

    def _load(self, s: Load) -> torch.Tensor:
        src = self.memory[s.src]
        guard = None if s.guard is None else self.over(s.guard, s.dst.axes)
        where = [self._position(e) for e in s.index]
        axes = [e.name if isinstance(e, Var) and e.name in self.starts else None for e in s.index]
        tile = None
        if self.active is None:
            tile = read_slice(src, where, axes, s.dst.axes, guard, s.fill, self.check)
        if tile is None:
            index = [self._as_tensor(e, s.dst.axes) for e in s.index]
            tile = gather(src, index, guard, s.fill, self.active, self.check)
        if self.check:
            self._count(self.traffic.read, s.src, guard, s.dst)
        if s.src in self.written:
            tile = tile.clone()  # what a program stores later must not show in what it has loaded
        return tile.to(torch.int64) if s.dst.dtype == "int32" else tile  # what kernels widen where they must

    def _as_tensor(self, e: Expr, axes: tuple[str, ...]) -> torch.Tensor:
        value = torch.as_tensor(self.over(e, axes))
        return (
            value.reshape(value.shape + (1,) * (2 + len(axes) - value.dim())) if value.dim() >= 2 else value
        )

    def _store(self, s: Store) -> None:
        value = self.env[s.value.name]
        assert isinstance(value, torch.Tensor)
        guard = None if s.guard is None else self.over(s.guard, s.value.axes)
        if self.active is None:
            write(self.memory[s.dst], [self._position(e) for e in s.index], value, guard, self.check)
        else:  # programs differ in their tiles, or have none left
            index = [self._as_tensor(e, s.value.axes) for e in s.index]
            scatter(self.memory[s.dst], index, value, self._wanted(guard, s.value.axes), self.check)
        if self.check:
            self._count(self.traffic.written, s.dst, guard, s.value)

    def _count(self, counter: Counter[str], tensor: str, guard: Value | None, tile: Tile) -> None:
        taken = self._wanted(guard, tile.axes)
        counter[tensor] += int(taken.sum()) * self.memory[tensor].element_size()

    def _wanted(self, guard: Value | None, axes: tuple[str, ...]) -> torch.Tensor:
        """(B, H, *axes): the elements that an access takes, of programs that still run."""
        taken = torch.ones((*self.programs, *(self.sides[a] for a in axes)), dtype=torch.bool)
        if guard is not None:
            taken = taken & torch.as_tensor(guard)
        if self.active is not None:
            taken = taken & self.active.view(*self.active.shape, *[1] * len(axes))
        return taken

    def _dot(self, s: Dot) -> torch.Tensor:
        a, b = self.env[s.a.name], self.env[s.b.name]
        assert isinstance(a, torch.Tensor)
        assert isinstance(b, torch.Tensor)
        if s.a.axes[-1] != s.contract:
            a = a.transpose(-1, -2)
        if s.b.axes[0] != s.contract:
            b = b.transpose(-1, -2)
        if s.only is not None:
            only = torch.as_tensor(self.over(s.only, (s.contract,)))
            b = b if bool(only.all()) else torch.where(only.unsqueeze(-1), b, 0.0)
        if self.check:
            self.traffic.flops += 2 * a.shape[-2] * a.shape[-1] * b.shape[-1] * self._running()
        if s.acc is None:
            return a @ b
        acc = self.over(s.acc, s.dst.axes)
        assert isinstance(acc, torch.Tensor)
        return torch.add(acc, a @ b)

    def _keep(self, s: Keep) -> torch.Tensor:
        def line_of(start: Expr, axis: str) -> torch.Tensor:
            line = torch.arange(self.side(axis)).view(1, 1, *((-1, 1) if s.dst.axes[0] == axis else (1, -1)))
            first = self.number(start)
            return line + (first[..., None, None] if isinstance(first, torch.Tensor) else first)

        seed = self.env[s.seed.name]
        assert isinstance(seed, torch.Tensor)
        head = torch.as_tensor(self.number(s.head))
        q, k = line_of(s.q_lo, "q"), line_of(s.k_lo, "k")
        return kept(int(seed), head.view(*head.shape, 1, 1), q, k, s.p)

    def _running(self) -> int:
        """Programs that execute this statement."""
        if self.active is None:
            return math.prod(self.programs)
        return int(self.active.expand(self.programs).sum())

    def _exponentials(self, op: Op, value: Value) -> None:
        elements = math.prod(value.shape[2:]) if isinstance(value, torch.Tensor) else 1
        self.traffic.exponentials += op.exponentials * elements * self._running()

    def _loop(self, s: Loop) -> None:
        ranges = [(self.number(r.lo), self.number(r.hi)) for r in s.domain if isinstance(r, Range)]
        if not any(isinstance(x, torch.Tensor) for pair in ranges for x in pair):
            for j in (j for lo, hi in ranges for j in range(int(lo), int(hi))):
                self.env[s.var] = j
                self.execute(s.body)
            return
        los = [torch.as_tensor(lo) for lo, _ in ranges]
        counts = [
            torch.clamp(torch.as_tensor(hi) - lo, min=0) for lo, (_, hi) in zip(los, ranges, strict=True)
        ]
        total = torch.as_tensor(sum(counts))
        outer = self.active
        for i in range(int(total.max()) if total.numel() else 0):
            running = i < total
            self.active = running if outer is None else running & outer
            self.env[s.var] = tile_number(i, los, counts)
            old = {name: self.env[name] for name in s.carried}
            self.execute(s.body)
            for name, before in old.items():
                assert isinstance(before, torch.Tensor)
                on = self.active.view(*self.active.shape, *[1] * (before.dim() - 2))
                self.env[name] = torch.where(on, self.env[name], before)
        self.active = outer
