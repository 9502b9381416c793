"""Statements of a kernel -> lines of nodes (``listing``): where tiles lie, what is cast, how ints round.

Where a tile lies is worked out by ``address``, what an int operator becomes by ``arithmetic``; ``loops``
lowers loops and what is computed before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flashgen.backends.listing import Act, Assign, Line, Node
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, real
from flashgen.ir.names import MARK
from flashgen.ir.philox import threshold
from flashgen.ir.program import (
    Coords,
    Dot,
    Fence,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Reduce,
    Scalar,
    Stmt,
    Store,
    Tensor,
    Tile,
    statements,
)

from . import nodes
from .address import CASTS, Address, Addresses, storage, total
from .arithmetic import Arithmetic
from .descriptor import Descriptor, describe
from .facts import ZERO, Facts
from .loops import loop


class Lower:
    """Lowers one kernel. ``elem``: the dtype of q, k and v; ``loads``: how loops read them."""

    def __init__(
        self,
        kernel: Kernel,
        tensors: Mapping[str, Tensor],
        sides: Mapping[str, int],
        elem: str,
        loads: Literal["pointer", "descriptor"],
    ) -> None:
        self.elem = elem
        self.by_descriptor = loads == "descriptor"
        self.descriptors: dict[str, Descriptor] = {}
        self.sizes = {a.name: a.size for a in kernel.axes}
        self.addresses = Addresses(tensors, sides)
        self.facts = Facts.of(kernel)
        touched = [
            s.src if isinstance(s, Load) else s.dst
            for s in statements(kernel.body)
            if isinstance(s, Load | Store)
        ]
        self.elem_tensor = next((n for n in touched if tensors[n].dtype == "elem"), None)
        self.named: dict[tuple[Expr, tuple[str, ...]], Tile] = {}  # bases and offsets that have a name
        self.changing: frozenset[str] = frozenset()
        self.initialised = False  # whether the last Map was an initial value: such lines stand together

    @property
    def low(self) -> Arithmetic:
        """Lowers expressions by what is known at this point."""
        return Arithmetic(self.facts)

    def ranges(self) -> list[Line]:
        """The element numbers inside a tile along each axis."""
        return [
            Assign(Tile(f"{a}_range", (a,), "int32"), self._span(ZERO, a), gap=i == 0)
            for i, a in enumerate(self.sizes)
        ]

    def lines(self, body: tuple[Stmt, ...]) -> list[Line]:
        """``body`` in order."""
        return [line for s in body for line in self._statement(s)]

    def _statement(self, s: Stmt) -> list[Line]:
        match s:
            case Scalar():
                self.facts.define(s.name, s.value)
                if self.changing:
                    self.facts.in_loop.add(s.name)
                return [Assign(Tile(s.name, (), "int"), self.low.lowered(s.value), s.note)]
            case Coords():
                return [self._coords(s)]
            case Load():
                return self._load(s)
            case Store():
                return self._store(s)
            case Dot():
                return [*self._scrub(s), self._dot(s)]
            case Map():
                return [self._map(s)]
            case Reduce():
                self.facts.tiles[s.dst.name] = s.dst
                return [Assign(s.dst, nodes.Reduced(s.op, s.src, s.axis), s.note)]
            case Keep():
                return [self._keep(s)]
            case Loop():
                return [loop(self, s)]
            case Fence():
                return [Act(nodes.Fence())]

    def _span(self, start: Const, axis: str) -> Node:
        return nodes.Span(start, self.low.lowered(self.sizes[axis]))

    def _shape(self, axes: tuple[str, ...]) -> tuple[Expr, ...]:
        return tuple(self.low.lowered(self.sizes[a]) for a in axes)

    def _coords(self, s: Coords) -> Line:
        (axis,) = s.dst.axes
        self.facts.tiles[s.dst.name] = s.dst
        self.facts.starts[s.dst.name] = s.start
        low = ZERO if self.facts.non_negative(s.start) else None
        self.facts.known[s.dst.name] = (low, None)
        if isinstance(s.start, Const):
            return Assign(s.dst, self._span(s.start, axis))
        return Assign(s.dst, total((self.low.lowered(s.start), Var(f"{axis}_range", "int"))))

    def _address(self, src: str, s: Load | Store) -> Address:
        """Where the elements of ``s`` lie, as seen from here."""
        return self.addresses.of(src, s.index, s.guard, self.low, self.sizes, self.changing)

    def name(self, value: Expr, wanted: str, axes: tuple[str, ...] = (), moves: bool = False) -> Assign:
        """``value`` over ``axes`` under a name, the same for the same value."""
        if (value, axes) not in self.named:
            taken = {t.name for t in self.named.values()}
            name, n = f"{wanted}{MARK}", 1
            while name in taken:
                n += 1
                name = f"{wanted}_{n}{MARK}"
            self.named[value, axes] = Tile(name, axes, "int64")
        return Assign(self.named[value, axes], value, moves=moves)

    def _pointer(self, a: Address, src: str, tile: Tile) -> tuple[Expr, list[Line]]:
        """The pointer of an access to elements of ``tile``, and the lines it needs before."""
        base, offsets, lines = a.base, a.offsets, list[Line]()
        if len(base) > 1 and a.covered:
            lines.append(named := self.name(total(base), f"{src}_base", moves=True))
            base = (Var(named.dst.name, "int"),)
        composed = len(tile.axes) > 1 or len(offsets) > 1 or any(isinstance(e, Call) for e in offsets)
        again = offsets and (total(offsets), tile.axes) in self.named
        if again or (self.changing and a.fixed_offsets and offsets and composed):
            named = self.name(total(offsets), f"{tile.name}_offsets", tile.axes, moves=True)
            lines.append(named)
            offsets = (Var(named.dst.name, "int"),)
        return total((*base, *a.moving, *offsets)), lines

    def _load(self, s: Load) -> list[Line]:
        tensor = self.addresses.tensors[s.src]
        if tensor.role == "seed":
            return self._seed(s)
        described = describe(s, self) if self.by_descriptor and self.changing else None
        a = self._address(s.src, s)
        pointer, lines = self._pointer(a, s.src, s.dst)
        self.facts.tiles[s.dst.name] = s.dst
        if described is not None:  # the parts of its address are there for loops that cannot
            self.descriptors[described.name] = described
            return [*lines, Assign(s.dst, described.load, s.note)]
        cast = CASTS.get(s.dst.dtype) if tensor.role == "input" else None
        if tensor.role != "input" and s.dst.dtype != tensor.dtype:
            cast = self._dtype(s.dst)
        fill = integer(int(s.fill)) if s.dst.dtype in ("int32", "bool") else real(s.fill)
        self.facts.known.pop(s.dst.name, None)
        return [*lines, Assign(s.dst, nodes.Load(pointer, a.guard, fill, cast), s.note)]

    def _seed(self, s: Load) -> list[Line]:
        """The seed as the two 32-bit words of a key."""
        self.facts.tiles[s.dst.name] = s.dst
        seed, (lower, upper) = Var(s.dst.name, "int"), _words(s.dst)
        half = Call("high_bits", (seed, integer(32)), "int")
        return [
            Assign(s.dst, nodes.Load(Var(f"{s.src}_ptr", "int"), None, ZERO), s.note),
            Assign(Tile(lower.name, (), "uint32"), nodes.Cast(seed, "tl.uint32")),
            Assign(Tile(upper.name, (), "uint32"), nodes.Cast(half, "tl.uint32")),
        ]

    def _store(self, s: Store) -> list[Line]:
        a = self._address(s.dst, s)
        pointer, lines = self._pointer(a, s.dst, s.value)
        return [*lines, Act(nodes.Store(pointer, s.value, a.guard))]

    def _scrub(self, s: Dot) -> list[Line]:
        """The operand of a dot that leaves rows out."""
        if s.only is None:
            return []
        rest = Call("where", (self.low.lowered(s.only), Var(s.b.name, "float"), real(0.0)), "float")
        return [Assign(s.b, nodes.Kept(rest))]

    def _dot(self, s: Dot) -> Line:
        a, b = (s.a, s.b) if s.dst.axes[0] in s.a.axes else (s.b, s.a)
        acc = None if s.acc is None else self.low.lowered(s.acc)
        narrow = self.elem != "fp32" and "elem" in (a.dtype, b.dtype)
        self.facts.tiles[s.dst.name] = s.dst
        return Assign(s.dst, nodes.Dot(a, b, s.contract, acc, "" if narrow else s.precision), s.note)

    def _keep(self, s: Keep) -> Line:
        self.facts.tiles[s.dst.name] = s.dst
        at = tuple(self.low.lowered(e) for e in (s.head, s.q_lo, s.k_lo))
        turned = s.dst.axes == ("k", "q")
        drawn = nodes.Drawn(_words(s.seed), at, threshold(s.p), self._shape(("q", "k")), turned)
        return Assign(s.dst, drawn, s.note)

    def _map(self, s: Map) -> Line:
        value, dst = s.value, s.dst
        tile = self.facts.tiles.get(value.name) if isinstance(value, Var) else None
        found: Expr | Node
        if isinstance(value, Const) and dst.axes:
            dtype = self._dtype(dst) if dst.dtype == "elem" else storage(dst)
            found = nodes.Full(value, self._shape(dst.axes), dtype)
        elif tile is not None and tile.dtype == dst.dtype and tile.axes == dst.axes:
            found = nodes.Copy(tile)
        else:
            found = self.low.lowered(value)
            if dst.axes and self.facts.axes(value) != set(dst.axes):
                found = nodes.Broadcast(found, self._shape(dst.axes))
            if dst.dtype == "elem" and self.elem != "fp32":
                found = nodes.Cast(found, self._dtype(dst))
        self.facts.tiles[dst.name] = dst
        self.facts.known.pop(dst.name, None)
        self.facts.define(dst.name, value)
        starts = isinstance(value, Const) and not self.initialised
        self.initialised = isinstance(value, Const)
        return Assign(dst, found, s.note, gap=starts)

    def _dtype(self, dst: Tile) -> nodes.Dtype:
        return Var(f"{self.elem_tensor}_ptr", "int") if dst.dtype == "elem" else storage(dst)


def _words(seed: Tile) -> tuple[Var, Var]:
    """The names of a seed's two words."""
    return Var(f"{seed.name}_lo", "int"), Var(f"{seed.name}_hi", "int")
