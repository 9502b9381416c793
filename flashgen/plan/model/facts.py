"""What a kernel does, read off its statements and kept by tile axes: no tile side is known yet.

A ``Program`` comes in; ``KernelFacts`` go out: per loop its dots, loads, elementwise work and live
tiles, each with the axes it spans, so that sizes are products of sides. Computed once per program;
``resources`` and ``cost`` put numbers in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from flashgen.count.liveness import largest, leads_to_dot, liveness
from flashgen.expr.nodes import Call, Const, Expr, Var, children, variables
from flashgen.expr.ops import OPS
from flashgen.ir.box import is_box
from flashgen.ir.program import (
    Coords,
    Dot,
    GridAxis,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Range,
    Reduce,
    Scalar,
    Stmt,
    Store,
    Tile,
    statements,
)

if TYPE_CHECKING:
    from flashgen.count.counts import Counts

Axes = tuple[str, ...]
#: A reduction ends in two shuffles in the quad of threads that share a row, at a quarter of the issue rate.
SHUFFLE_SLOTS = 8.0
#: Drawing and applying the random bits of one pair: a quarter of a call of 7 wide products at a quarter of
#: the issue rate each, and 5 instructions.
DRAW_SLOTS = 12.0
#: Dividing integers by a number known when the kernel is compiled.
BY_NUMBER_SLOTS = 6.0


@dataclass(frozen=True)
class DotFacts:
    """One dot: its result's rows and columns, what it sums over, and where ``a`` comes from."""

    m: Axes
    n: Axes
    k: str
    a: str
    b: str
    a_loaded: bool
    b_loaded: bool
    dtype: str
    product: str  # what it is part of: pieces of a head dim share a result, or a computed operand
    precision: str


@dataclass(frozen=True)
class LoadFacts:
    """One load. ``feeds_dot``: it is an operand of a dot; ``leads_to_dot``: a dot depends on it."""

    name: str
    axes: Axes
    dtype: str
    feeds_dot: bool
    leads_to_dot: bool
    reused: bool  # the same bytes for every tile of the axis that the grid cuts (K and V), not once each (Q)
    src: str  # the tensor
    varies: frozenset[str]  # the grid's axes that its index depends on: programs along others read the same
    gathered: bool  # elements lie where a computed index says, one by one
    along: str  # the axis of a matrix along which elements lie side by side in HBM
    streamed: bool  # a loop brings it, and it is a box of the tensor (``ir.box``)


@dataclass(eq=False)
class BodyFacts:
    """The work of one pass through a list of statements, loops inside it apart.

    ``body``: the statements; ``loaded``: tiles that are loaded before them; ``var``: of the loop that they
    are in.
    """

    body: tuple[Stmt, ...] = ()
    loaded: Mapping[str, Tile] = field(default_factory=dict)
    var: str | None = None
    dots: list[DotFacts] = field(default_factory=list)
    loads: list[LoadFacts] = field(default_factory=list)
    stores: list[tuple[Axes, str]] = field(default_factory=list)
    slots: dict[Axes, float] = field(default_factory=dict)  # issue slots an element
    special: dict[Axes, float] = field(default_factory=dict)  # special-function results an element
    pressure: list[tuple[Tile, ...]] = field(default_factory=list)  # sets of matrices in registers at once
    loops: list[LoopFacts] = field(default_factory=list)


@dataclass(eq=False)
class LoopFacts(BodyFacts):
    """A loop: its body's work, and the tile numbers it runs over."""

    domain: tuple[Range, ...] = ()
    mask: str = "all"
    note: str = ""


@dataclass(frozen=True, eq=False)
class KernelFacts:
    """A kernel, ready for numbers. ``sides`` are the plan's symbols; ``sizes`` give each axis its side.

    Equality is identity: there is one object per kernel, and formulas are cached by it.
    """

    program: Program
    kernel: Kernel
    body: BodyFacts
    sizes: dict[str, Expr]
    sides: tuple[str, ...]
    row_side: str | None  # the side its grid divides a sequence by
    loops: tuple[LoopFacts, ...]  # every loop, outer before inner
    outer: tuple[int | None, ...]  # of each loop, the number of the one that it is in

    @property
    def cut(self) -> GridAxis | None:
        """The axis of the grid that cuts a sequence into tiles."""
        cuts = (g for g in self.kernel.grid if self.row_side and self.row_side in variables(g.extent))
        return next(cuts, None)

    @property
    def writes(self) -> frozenset[str]:
        """The tensors that it stores to."""
        return frozenset(s.dst for s in statements(self.kernel.body) if isinstance(s, Store))

    @property
    def counts(self) -> Counts:
        """Its requested bytes, operations and on-chip bytes."""
        from flashgen.count.counts import counts  # torch comes with it, which planning does without

        return counts(self.program).of_kernel(self.program.kernels.index(self.kernel))


def _flat(loops: list[LoopFacts]) -> list[LoopFacts]:
    return [x for loop in loops for x in (loop, *_flat(loop.loops))]


@lru_cache(maxsize=64)
def facts(program: Program) -> tuple[KernelFacts, ...]:
    """The facts of every kernel of ``program``."""
    return tuple(_kernel_facts(program, k) for k in program.kernels)


def streamed(program: Program) -> frozenset[str]:
    """The tensors of which some loop of ``program`` reads boxes."""
    return frozenset(x.src for f in facts(program) for loop in f.loops for x in loop.loads if x.streamed)


def _kernel_facts(program: Program, kernel: Kernel) -> KernelFacts:
    sizes = {a.name: a.size for a in kernel.axes}
    sides = tuple(dict.fromkeys(v for size in sizes.values() for v in sorted(variables(size))))
    grid_vars = [variables(g.extent) for g in kernel.grid]
    row = next((s for s in sides if any(s in g for g in grid_vars)), None)
    own = next((a for a, size in sizes.items() if row is not None and row in variables(size)), None)
    reader = _Reader(program, own, {}, {g.name: frozenset((g.name,)) for g in kernel.grid})
    body = BodyFacts()
    reader.read(kernel.body, body)
    loops = _flat(body.loops)
    outer = tuple(
        next((n for n, x in enumerate(loops) if any(loop is y for y in x.loops)), None) for loop in loops
    )
    return KernelFacts(program, kernel, body, sizes, sides, row, tuple(loops), outer)


@dataclass
class _Reader:
    program: Program
    own: str | None  # the axis that the grid cuts
    axes: dict[str, Axes]  # of every tile seen
    varies: dict[str, frozenset[str]]  # the grid's axes that a scalar or a tile of numbers depends on
    loaded: dict[str, Tile] = field(default_factory=dict)
    ranges: set[str] = field(default_factory=set)  # tiles of consecutive numbers
    in_smem: frozenset[str] = frozenset()  # operands loaded so far

    def read(self, body: tuple[Stmt, ...], out: BodyFacts, var: str | None = None) -> None:
        in_loop = isinstance(out, LoopFacts)
        out.body, out.loaded, out.var = body, dict(self.loaded), var
        leads = leads_to_dot(body)
        operands = {t for s in statements(body) if isinstance(s, Dot) for t in (s.a.name, s.b.name)}
        for s in body:
            if isinstance(s, Loop):
                loop = LoopFacts(domain=s.domain, mask=s.mask, note=s.note)
                self.read(s.body, loop, s.var)
                out.loops.append(loop)
            elif isinstance(s, Scalar):
                self.varies[s.name] = self._over(s.value)
            elif isinstance(s, Coords):
                self.axes[s.dst.name] = s.dst.axes
                self.ranges.add(s.dst.name)
                self.varies[s.dst.name] = self._over(s.start)
            elif isinstance(s, Load):
                self.axes[s.dst.name] = s.dst.axes
                self.loaded[s.dst.name] = s.dst
                self.varies[s.dst.name] = self._over(*s.index)
                if s.dst.name in operands:
                    self.in_smem |= {s.dst.name}
                reused = in_loop and len(s.dst.axes) > 1 and self.own not in s.dst.axes
                out.loads.append(
                    LoadFacts(s.dst.name, s.dst.axes, s.dst.dtype, s.dst.name in operands,
                              s.dst.name in leads, reused, s.src, self.varies[s.dst.name],
                              self._gathers(s), self._along(s),
                              in_loop and is_box(s, self.program.tensor(s.src), self.ranges))
                )  # fmt: skip
            elif isinstance(s, Store):
                out.stores.append((s.value.axes, s.value.dtype))
            elif isinstance(s, Dot):
                self._dot(s, out)
            elif isinstance(s, Map):
                self.axes[s.dst.name] = s.dst.axes
                self.varies[s.dst.name] = self._over(s.value)
                self._count(s.value, out)
            elif isinstance(s, Keep):
                self.axes[s.dst.name] = s.dst.axes
                _add(out.slots, s.dst.axes, DRAW_SLOTS)
            elif isinstance(s, Reduce):
                self.axes[s.dst.name] = s.dst.axes
                _add(out.slots, s.src.axes, 1.0)
                _add(out.slots, s.dst.axes, SHUFFLE_SLOTS)
        alive = liveness(body)
        out.pressure = largest(
            [tuple(x for x in tiles if len(x.axes) > 1 and x.name not in self.in_smem) for tiles in alive]
        )

    def _gathers(self, s: Load) -> bool:
        """Whether neighbours in the tile may lie anywhere: the last index is no plain range of numbers."""
        last = s.index[-1] if s.index else None
        return len(s.dst.axes) > 1 and not (isinstance(last, Var) and last.name in self.ranges)

    def _along(self, s: Load) -> str:
        """The axis of the last index where that is a plain range of numbers."""
        last = s.index[-1] if len(s.dst.axes) == 2 else None
        return self.axes[last.name][0] if isinstance(last, Var) and last.name in self.ranges else ""

    def _over(self, *values: Expr) -> frozenset[str]:
        """The grid's axes that ``values`` depend on; a loop's variable is none of them."""
        return frozenset().union(*(self.varies.get(v, ()) for e in values for v in variables(e)))

    def _dot(self, s: Dot, out: BodyFacts) -> None:
        self.axes[s.dst.name] = s.dst.axes
        m = tuple(a for a in s.dst.axes if a in s.a.axes)
        n = tuple(a for a in s.dst.axes if a in s.b.axes)
        out.dots.append(
            DotFacts(m, n, s.contract, s.a.name, s.b.name, s.a.name in self.loaded,
                     s.b.name in self.loaded, s.a.dtype,
                     s.dst.name if s.a.name in self.loaded else s.a.name, s.precision)
        )  # fmt: skip
        if s.acc is not None:
            self._count(s.acc, out)

    def _count(self, e: Expr, out: BodyFacts) -> Axes:
        """Add the work of ``e``, each node on the axes it varies along; returns those of ``e``."""
        if isinstance(e, Var):
            return self.axes.get(e.name, ())
        if isinstance(e, Const):
            return ()
        parts = [self._count(c, out) for c in children(e)]
        axes = tuple(dict.fromkeys(a for p in parts for a in p))
        if isinstance(e, Call):
            axes = _known_order(axes)
            fused = e.op in ("add", "sub") and any(isinstance(a, Call) and a.op == "mul" for a in e.args)
            _add(out.slots, axes, 0.0 if fused else _slots(e))
            _add(out.special, axes, float(OPS[e.op].special))
        return axes


def _slots(e: Call) -> float:
    """Issue slots of an operator."""
    by = e.args[-1]
    if e.op in ("mod", "floordiv") and isinstance(by, Const):  # a mask or a shift; or a product's high half
        return 1.0 if _power_of_two(int(by.value)) else BY_NUMBER_SLOTS
    return float(OPS[e.op].slots)


def _power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _known_order(axes: Axes) -> Axes:
    return tuple(sorted(axes, key=lambda a: (a != "q", a != "k", a)))


def _add(table: dict[Axes, float], axes: Axes, n: float) -> None:
    if n:
        table[axes] = table.get(axes, 0.0) + n
