"""Lowered lines -> text, each node through its template. Nothing is decided here: what is no node of Triton's
(``nodes``) or no operator of its table (``ops``) was not lowered, and is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from flashgen.backends.listing import Act, Assign, For, Line, Node
from flashgen.expr.nodes import Expr, Var
from flashgen.ir.program import Tile
from flashgen.ir.verify import InvalidIR, require

from . import layout
from .nodes import (
    Broadcast,
    Cast,
    Copy,
    DescriptorLoad,
    Dot,
    Drawn,
    Dtype,
    Fence,
    Full,
    Kept,
    Load,
    ProgramId,
    Reduced,
    Span,
    Store,
)
from .ops import UNARY
from .text import Dialect, Printer, subscript

#: Renders a template with its facts.
Render = Callable[..., str]


@dataclass
class Lines:
    """Prints the lines of one kernel. ``widen``: ``elem`` is narrower than fp32."""

    render: Render
    widen: bool
    dialect: Dialect
    tiles: dict[str, Tile] = field(default_factory=dict)

    def texts(self, lines: Sequence[Line], depth: int = 0) -> list[layout.Line]:
        """``lines`` as text, in order."""
        out: list[layout.Line] = []
        for line in lines:
            match line:
                case Assign():
                    text = self.render("assign.j2", dst=line.dst.name, value=self._assigned(line))
                    out.append(layout.Line(text, line.note, depth, line.gap))
                    self.tiles[line.dst.name] = line.dst
                case Act():
                    out.append(layout.Line(self._node(line.node, (), self._printer()), line.note, depth))
                case For():
                    require(not line.before, f"the bounds of {line.var.name} were not taken out of the loop")
                    at = {"lo": self._printer().text(line.lo), "hi": self._printer().text(line.hi)}
                    head = self.render("loop.j2", var=line.var.name, **at)
                    out.append(layout.Line(head, line.note, depth, gap=True))
                    out += self.texts(line.body, depth + 1)
        return out

    def _printer(self) -> Printer:
        return Printer(self.tiles, self.widen, self.dialect)

    def _assigned(self, line: Assign) -> str:
        """What stands on the right of an assignment."""
        inside = {a.dst.name: self._assigned(a) for a in line.inside}
        tiles = {**self.tiles, **{a.dst.name: a.dst for a in line.inside}}
        return self._value(line.value, line.dst.axes, replace(self._printer(), tiles=tiles, inside=inside))

    def _value(self, value: Expr | Node, axes: tuple[str, ...], out: Printer, tighter_than: int = 0) -> str:
        if isinstance(value, Node):
            return self._node(value, axes, out)
        return out.text(value, axes, tighter_than)

    def _node(self, n: Node, axes: tuple[str, ...], out: Printer) -> str:
        match n:
            case ProgramId():
                return "tl.program_id(0)"
            case Span():
                start = "" if n.start.value == 0 else out.text(n.start)
                return self.render("span.j2", start=start, size=out.text(n.size))
            case Full():
                zero = n.value.value == 0 and n.value.type != "bool"
                facts = {"shape": _tuple(n.shape, out), "dtype": _dtype(n.dtype)}
                return self.render("full.j2", value="" if zero else out.text(n.value), **facts)
            case Copy():
                return out.inside.get(n.tile.name, n.tile.name)
            case Kept():
                return replace(out, widen=False).text(n.value, axes)
            case Broadcast():
                return self.render("broadcast.j2", value=out.text(n.value, axes), shape=_tuple(n.shape, out))
            case Cast():
                return f"{self._value(n.value, axes, out, UNARY)}.to({_dtype(n.dtype)})"
            case Load():
                mask = None if n.mask is None else out.text(n.mask, axes)
                cast = None if n.dtype is None else _dtype(n.dtype)
                facts = {"address": out.text(n.pointer, axes), "fill": out.text(n.fill)}
                return self.render("load.j2", mask=mask, cast=cast, **facts)
            case DescriptorLoad():
                facts = {"at": _list(n.at, out), "shape": _list(n.shape, out)}
                name = n.descriptor.name
                return self.render("load_descriptor.j2", descriptor=name, turned=n.turned, **facts)
            case Store():
                mask = None if n.mask is None else out.text(n.mask, n.value.axes)
                address = out.text(n.pointer, n.value.axes)
                return self.render("store.j2", address=address, value=n.value.name, mask=mask)
            case Dot():
                rows, columns = axes
                a = subscript(n.a.name, n.a.axes, (rows, n.contract))
                b = subscript(n.b.name, n.b.axes, (n.contract, columns))
                acc = "" if n.acc is None else out.text(n.acc, axes)
                return self.render("dot.j2", a=a, b=b, acc=acc, precision=n.precision)
            case Reduced():
                at = n.src.axes.index(n.axis)
                return self.render("reduce.j2", op=n.op, src=n.src.name, axis=at)
            case Drawn():
                facts = {"at": _list(n.at, out), "sides": _list(n.sides, out)}
                words = [w.name for w in n.words]
                return self.render("keep.j2", words=words, threshold=n.threshold, turned=n.turned, **facts)
            case Fence():
                return self.render("fence.j2")
        raise InvalidIR(f"{type(n).__name__} is no node of Triton's")


def _list(parts: Iterable[Expr], out: Printer) -> str:
    return ", ".join(map(out.text, parts))


def _tuple(parts: tuple[Expr, ...], out: Printer) -> str:
    return f"({_list(parts, out)}{',' if len(parts) == 1 else ''})"


def _dtype(dtype: Dtype) -> str:
    return f"{dtype.name}.dtype.element_ty" if isinstance(dtype, Var) else dtype
