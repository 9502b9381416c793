"""Verifiers of the two levels. What they reject is a bug in flashgen, never a user's mistake."""

from __future__ import annotations

from flashgen.expr.extent import Known
from flashgen.expr.lengths import LENGTHS, SIDES
from flashgen.expr.nodes import Call, Expr, Read, reads, variables, walk
from flashgen.expr.ops import OPS

from .attention import AttentionIR
from .program import (
    Coords,
    Dot,
    Fence,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Reduce,
    Scalar,
    Stmt,
    Store,
    Tile,
)
from .uses import defined
from .widths import counting, tile_dtype

LANGUAGE = {"s", "b", "h", "hkv", "q", "k", "Nq", "Nk"}


class InvalidIR(Exception):
    """A level that does not say something executable."""


def require(condition: bool, message: str) -> None:
    """Raise ``InvalidIR`` with ``message`` unless ``condition``."""
    if not condition:
        raise InvalidIR(message)


def verify_ir(ir: AttentionIR) -> None:
    """Types, names and input ranks of an ``AttentionIR``."""
    require(ir.score.type == "float", "the score is not a float")
    require(ir.mask is None or ir.mask.type == "bool", "the mask is not a bool")
    for e in (ir.score, ir.mask):
        if e is None:
            continue
        _operators(e)
        require(variables(e) <= LANGUAGE, f"unknown variables {variables(e) - LANGUAGE}")
        for r in reads(e):
            require(len(r.index) == len(ir.input(r.name).dims), f"{r.name} read with a wrong rank")
    require(ir.mask is None or "s" not in variables(ir.mask), "the mask depends on the score")


def _operators(e: Expr) -> None:
    for n in walk(e):
        if isinstance(n, Call):
            require(n.op in OPS and len(n.args) == len(OPS[n.op].takes), f"malformed call of {n.op}")


def verify_program(program: Program) -> None:
    """Names, axes and types of every statement of every kernel."""
    names = [t.name for t in program.tensors]
    require(len(set(names)) == len(names), "two tensors share a name")
    for s in program.sums:
        src, dst = program.tensor(s.src), program.tensor(s.dst)
        require(len(s.axes) == len(src.dims) and len(s.index) == len(dst.dims), f"sum {s.dst}: wrong ranks")
        known = {*LENGTHS, "hkv", *s.axes}
        require(all(variables(e) <= known for e in s.index), f"sum {s.dst}: an index it does not know")
    for kernel in program.kernels:
        _KernelVerifier(program, kernel).check()


class _KernelVerifier:
    def __init__(self, program: Program, kernel: Kernel) -> None:
        self.program = program
        self.kernel = kernel
        self.axes = {a.name for a in kernel.axes}
        self.scalars: dict[str, Expr | None] = dict.fromkeys(
            (*LENGTHS, *SIDES, *(a.name for a in kernel.grid))
        )
        self.tiles: dict[str, Tile] = {}
        self.extents = Known()

    def check(self) -> None:
        self.block(self.kernel.body)

    def block(self, body: tuple[Stmt, ...]) -> None:
        for s in body:
            self.statement(s)

    def statement(self, s: Stmt) -> None:
        match s:
            case Scalar():
                self.uses(s.value, ())
                self.unshadowed(s.name, f"scalar {s.name}", s.value)
                self.scalars[s.name] = s.value
                self.extents = self.extents.knowing(s.name, s.value)
            case Coords():
                require(len(s.dst.axes) == 1, f"coords {s.dst.name} need one axis")
                self.uses(s.start, ())
                self.define(s.dst)
            case Load():
                self.access(s.src, s.index, s.guard, s.dst.axes)
                self.define(s.dst)
            case Store():
                self.known(s.value)
                self.access(s.dst, s.index, s.guard, s.value.axes)
            case Map():
                self.uses(s.value, s.dst.axes)
                self.holds(s)
                self.define(s.dst)
            case Dot():
                self.dot(s)
            case Reduce():
                self.known(s.src)
                require(
                    s.dst.axes == tuple(a for a in s.src.axes if a != s.axis), f"{s.dst.name}: wrong axes"
                )
                self.define(s.dst)
            case Keep():
                self.known(s.seed)
                require(set(s.dst.axes) == {"q", "k"}, f"{s.dst.name} is drawn over other axes than q and k")
                for e in (s.head, s.q_lo, s.k_lo):
                    self.uses(e, ())
                self.define(s.dst)
            case Loop():
                self.loop(s)
            case Fence():
                pass

    def define(self, t: Tile) -> None:
        require(set(t.axes) <= self.axes, f"tile {t.name} has an axis the kernel has not")
        require(t.name not in self.scalars, f"tile {t.name} shadows a scalar")
        before = self.tiles.get(t.name)
        require(before in (None, t), f"tile {t.name} is defined twice with different shapes")
        self.tiles[t.name] = t

    def holds(self, s: Map) -> None:
        """An int tile has the bits that its values need."""
        if s.value.type == "int":
            needed = tile_dtype(s.value, self.extents)
            require(s.dst.dtype == needed, f"{s.dst.name} is {s.dst.dtype}, its values take {needed}")
            self.extents = self.extents.knowing(s.dst.name, s.value)

    def unshadowed(self, name: str, what: str, value: Expr | None = None) -> None:
        """Refuse ``what`` where a live name means something else: a scalar may only say again what it is."""
        require(name not in self.tiles, f"{what} shadows a tile")
        again = name in self.scalars and value is not None and self.scalars[name] == value
        require(name not in self.scalars or again, f"{what} shadows a scalar")

    def known(self, t: Tile) -> None:
        require(
            self.tiles.get(t.name) == t, f"tile {t.name} is used before it is defined, or as another shape"
        )

    def uses(self, e: Expr, axes: tuple[str, ...]) -> None:
        _operators(e)
        require(not any(isinstance(n, Read) for n in walk(e)), "an input is read outside a load")
        for name in variables(e):
            if name in self.tiles:
                extra = set(self.tiles[name].axes) - set(axes)
                require(not extra, f"{name} varies along {sorted(extra)}, the result does not")
            else:
                require(name in self.scalars, f"{name} is used before it is defined")

    def access(self, tensor: str, index: tuple[Expr, ...], guard: Expr | None, axes: tuple[str, ...]) -> None:
        require(tensor in {t.name for t in self.program.tensors}, f"no tensor {tensor}")
        require(len(index) == len(self.program.tensor(tensor).dims), f"{tensor}: wrong number of indices")
        for e in (*index, *((guard,) if guard is not None else ())):
            self.uses(e, axes)

    def dot(self, s: Dot) -> None:
        self.known(s.a)
        self.known(s.b)
        free = tuple(a for a in (*s.a.axes, *s.b.axes) if a != s.contract)
        both = s.contract in s.a.axes and s.contract in s.b.axes
        require(both and s.dst.axes == free, f"dot {s.dst.name}: axes do not contract to {s.dst.axes}")
        if s.acc is not None:
            self.uses(s.acc, s.dst.axes)
        if s.only is not None:
            self.uses(s.only, (s.contract,))
        self.define(s.dst)

    def loop(self, s: Loop) -> None:
        require(bool(s.domain), "a loop over nothing")
        for r in s.domain:
            self.uses(r.lo, ())
            self.uses(r.hi, ())
        for name in s.carried:
            require(name in self.tiles, f"{name} is carried but does not exist before the loop")
            written = [d for d in s.body if name == defined(d)]
            inner = any(isinstance(d, Loop) and name in d.carried for d in s.body)
            require(len(written) == 1 or inner, f"{name} is carried and assigned {len(written)} times")
        outside = dict(self.tiles), dict(self.scalars), self.extents
        self.unshadowed(s.var, f"loop variable {s.var}")
        self.scalars[s.var] = None
        self.extents = counting(s, self.extents)
        self.block(s.body)
        self.tiles, self.scalars, self.extents = outside
