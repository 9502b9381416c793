"""Statements of a kernel -> lines, in program order, each through the template of its node.

What an assignment computes is text of ``text``, where a tile lies is text of ``address``; ``loops``
prints loops and what is computed before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flashgen.expr.nodes import Const, Expr, Var
from flashgen.expr.share import share
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
from flashgen.ir.widths import tile_dtype

from .address import CASTS, Address, Addresses, storage
from .descriptor import Descriptor, describe
from .facts import ZERO, Facts
from .layout import Line
from .loops import loop, used_once_next
from .ops import UNARY
from .text import Dialect, Printer, subscript

#: Renders the template of a node with its facts.
Render = Callable[..., str]


@dataclass(frozen=True)
class Style:
    """How a plan wants a kernel printed: the dtype of q, k and v (``fp32`` elements need no widening),
    whether loops read K and V by descriptors, and which operator texts to use."""

    elem: str
    descriptors: bool = False
    dialect: Dialect = "exact"


class Body:
    """Prints one kernel."""

    def __init__(
        self,
        kernel: Kernel,
        tensors: Mapping[str, Tensor],
        sides: Mapping[str, int],
        style: Style,
        render: Render,
    ) -> None:
        self.render = render
        self.style = style
        self.elem = style.elem
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
        self.named: dict[str, str] = {}  # text of a base or of offsets -> its name
        self.changing: frozenset[str] = frozenset()
        self.initialised = False  # whether the last Map was an initial value: such lines stand together

    @property
    def out(self) -> Printer:
        """The printer for the names known at this point."""

        return Printer(self.facts, self.elem != "fp32", self.style.dialect)

    def ranges(self) -> list[Line]:
        """The element numbers inside a tile along each axis."""
        return [
            Line(f"{a}_range = {self._arange(a)}", f"{a}_range", gap=i == 0) for i, a in enumerate(self.sizes)
        ]

    def lines(self, body: tuple[Stmt, ...]) -> list[Line]:
        """``body`` in order."""
        out: list[Line] = []
        for i, s in enumerate(body):
            if isinstance(s, Reduce) and used_once_next(s, body[i + 1 :]):
                line = self._reduce(s)
                self.facts.inline[s.dst.name] = line.text.split(" = ", 1)[1]
            else:
                out += self._statement(s)
        return out

    def _statement(self, s: Stmt) -> list[Line]:
        match s:
            case Scalar():
                self.facts.define(s.name, s.value)
                if self.changing:
                    self.facts.in_loop.add(s.name)
                return [self.node("scalar", s.name, s.note, dst=s.name, value=self.out.text(s.value))]
            case Coords():
                return [self._coords(s)]
            case Load():
                return self._load(s)
            case Store():
                return self._store(s)
            case Dot():
                return [*self._scrub(s), self._dot(s)]
            case Map():
                parts, (value,) = share((s.value,), f"{s.dst.name}{MARK}")
                return [*(self._part(n, e, s.dst) for n, e in parts), self._map(Map(s.dst, value, s.note))]
            case Reduce():
                return [self._reduce(s)]
            case Keep():
                return [self._keep(s)]
            case Loop():
                return loop(self, s)
            case Fence():
                return [self.node("fence", None, "")]

    def _reduce(self, s: Reduce) -> Line:
        self.facts.tiles[s.dst.name] = s.dst
        self.facts.inline.pop(s.dst.name, None)
        facts = {"dst": s.dst.name, "op": s.op, "src": s.src.name, "axis": s.src.axes.index(s.axis)}
        return self.node("reduce", s.dst.name, s.note, **facts)

    def node(self, node: str, defines: str | None, note: str, **facts: Any) -> Line:
        """The line of a node of the program."""
        return Line(self.render(f"{node}.j2", **facts), defines, note)

    def _arange(self, axis: str) -> str:
        return f"tl.arange(0, {self.out.text(self.sizes[axis])})"

    def _shape(self, axes: tuple[str, ...]) -> str:
        sizes = [self.out.text(self.sizes[a]) for a in axes]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    def _coords(self, s: Coords) -> Line:
        (axis,) = s.dst.axes
        self.facts.tiles[s.dst.name] = s.dst
        self.facts.starts[s.dst.name] = s.start
        low = ZERO if self.facts.non_negative(s.start) else None
        self.facts.known[s.dst.name] = (low, None)
        fixed = isinstance(s.start, Const)
        start = "" if s.start == ZERO else self.out.text(s.start)
        span = self._arange(axis) if fixed else f"{axis}_range"
        return self.node("coords", s.dst.name, "", dst=s.dst.name, start=start, span=span)

    def address(
        self, src: str, index: tuple[Expr, ...], axes: tuple[str, ...], guard: Expr | None
    ) -> Address:
        """Where ``src[index]`` lies, as seen from here."""
        return self.addresses.of(src, index, axes, guard, self.out, self.sizes, self.changing)

    def name(self, text: str, wanted: str) -> tuple[str, list[Line]]:
        """A name for ``text``, with the line that defines it unless it has one already."""
        if text in self.named:
            return self.named[text], []
        name, n = f"{wanted}{MARK}", 1
        while name in self.named.values():
            n += 1
            name = f"{wanted}_{n}{MARK}"
        self.named[text] = name
        return name, [Line(f"{name} = {text}", name)]

    def _pointer(self, a: Address, tile: str) -> tuple[str, list[Line]]:
        """The text of an access, and the lines it needs before."""
        base, lines = a.fixed, list[Line]()
        if a.base and a.covered:
            base, lines = self.name(a.fixed, f"{a.tensor}_base")
        offsets = self.named.get(a.offsets, a.offsets)
        return " + ".join(x for x in (base, *a.moving, offsets) if x), lines

    def _load(self, s: Load) -> list[Line]:
        if self.style.descriptors and self.changing and (d := describe(s, self)) is not None:
            self.descriptors[d.name] = d
            self.facts.tiles[s.dst.name] = s.dst
            facts = {
                "dst": s.dst.name,
                "descriptor": d.name,
                "at": d.at,
                "shape": d.shape,
                "turned": d.turned,
            }
            return [self.node("load_descriptor", s.dst.name, s.note, **facts)]
        tensor = self.addresses.tensors[s.src]
        if tensor.role == "seed":
            return self._seed(s)
        a = self.address(s.src, s.index, s.dst.axes, s.guard)
        address, lines = self._pointer(a, s.dst.name)
        cast = CASTS.get(s.dst.dtype, "") if tensor.role == "input" else ""
        if tensor.role != "input" and s.dst.dtype != tensor.dtype:
            cast = self._cast(s.dst)
        fill = "0.0" if s.fill == 0 else self.out.text(Const(s.fill, "float"))
        if s.dst.dtype in ("int32", "bool"):
            fill = str(int(s.fill))
        self.facts.tiles[s.dst.name] = s.dst
        self.facts.known.pop(s.dst.name, None)
        facts = {"dst": s.dst.name, "address": address, "mask": a.guard, "fill": fill, "cast": cast}
        return [*lines, self.node("load", s.dst.name, s.note, **facts)]

    def _seed(self, s: Load) -> list[Line]:
        """The seed as the two 32-bit words of a key."""
        name = s.dst.name
        self.facts.tiles[name] = s.dst
        words = ((f"{name}_lo", f"{name}.to(tl.uint32)"), (f"{name}_hi", f"({name} >> 32).to(tl.uint32)"))
        facts = {"dst": name, "address": f"{s.src}_ptr", "mask": None, "fill": "0", "cast": ""}
        return [self.node("load", name, s.note, **facts), *(Line(f"{n} = {text}", n) for n, text in words)]

    def _store(self, s: Store) -> list[Line]:
        a = self.address(s.dst, s.index, s.value.axes, s.guard)
        address, lines = self._pointer(a, s.value.name)
        return [*lines, self.node("store", None, "", address=address, value=s.value.name, mask=a.guard)]

    def _scrub(self, s: Dot) -> list[Line]:
        """The operand of a dot that leaves rows out."""
        if s.only is None:
            return []
        condition, name = self.out.text(s.only, s.b.axes), s.b.name
        return [self.node("map", name, "", dst=name, value=f"tl.where({condition}, {name}, 0.0)")]

    def _dot(self, s: Dot) -> Line:
        rows, columns = s.dst.axes
        a, b = (s.a, s.b) if rows in s.a.axes else (s.b, s.a)
        left = subscript(a.name, a.axes, (rows, s.contract))
        right = subscript(b.name, b.axes, (s.contract, columns))
        acc = "" if s.acc is None else self.out.text(s.acc, s.dst.axes)
        narrow = self.elem != "fp32" and "elem" in (a.dtype, b.dtype)
        precision = "" if narrow else s.precision
        self.facts.tiles[s.dst.name] = s.dst
        facts = {"dst": s.dst.name, "a": left, "b": right, "acc": acc, "precision": precision}
        return self.node("dot", s.dst.name, s.note, **facts)

    def _keep(self, s: Keep) -> Line:
        self.facts.tiles[s.dst.name] = s.dst
        facts = {
            "dst": s.dst.name,
            "at": ", ".join(self.out.text(e) for e in (s.head, s.q_lo, s.k_lo)),
            "threshold": threshold(s.p),
            "sides": ", ".join(self.out.text(self.sizes[a]) for a in ("q", "k")),
            "turned": s.dst.axes == ("k", "q"),
        }
        return self.node("keep", s.dst.name, s.note, **facts)

    def _map(self, s: Map) -> Line:
        value, dst = s.value, s.dst
        tile = self.facts.tiles.get(value.name) if isinstance(value, Var) else None
        if isinstance(value, Const) and dst.axes:
            text = self._constant(value, dst)
        elif tile is not None and tile.dtype == dst.dtype and tile.axes == dst.axes:
            text = self.facts.inline.get(tile.name, tile.name)
        else:
            text = self.out.text(value, dst.axes)
            if dst.axes and self.facts.axes(value) != set(dst.axes):
                text = f"tl.broadcast_to({text}, {self._shape(dst.axes)})"
            if dst.dtype == "elem" and self.elem != "fp32":
                tight = self.out.text(value, dst.axes, UNARY) if not text.startswith("tl.broadcast") else text
                text = f"{tight}{self._cast(dst)}"
        self.facts.tiles[dst.name] = dst
        self.facts.known.pop(dst.name, None)
        self.facts.define(dst.name, value)
        line = self.node("map", dst.name, s.note, dst=dst.name, value=text)
        starts = isinstance(value, Const) and not self.initialised
        self.initialised = isinstance(value, Const)
        return replace(line, gap=starts)

    def _part(self, name: str, value: Expr, of: Tile) -> Line:
        """A part of a value that is used more than once, as a tile of its own."""
        axes = tuple(a for a in of.axes if a in self.facts.axes(value))
        return self._map(Map(Tile(name, axes, tile_dtype(value, self.facts.extents)), value))

    def _constant(self, value: Const, dst: Tile) -> str:
        shape = self._shape(dst.axes)
        dtype = f"{self.elem_tensor}_ptr.dtype.element_ty" if dst.dtype == "elem" else storage(dst)
        if value.value == 0 and value.type != "bool":
            return f"tl.zeros({shape}, {dtype})"
        return f"tl.full({shape}, {self.out.text(value)}, {dtype})"

    def _cast(self, dst: Tile) -> str:
        if dst.dtype == "elem":
            return f".to({self.elem_tensor}_ptr.dtype.element_ty)"
        return f".to({storage(dst)})"
