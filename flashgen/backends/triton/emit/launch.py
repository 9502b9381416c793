"""The order of programs: from the program id of a one-dimensional launch to a point of the grid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce

from flashgen.backends.listing import Assign, Node
from flashgen.expr.nodes import Call, Expr, Var, integer
from flashgen.ir.program import GridAxis, Kernel, Tile
from flashgen.plan.plan import Order

from .arithmetic import Arithmetic
from .nodes import ProgramId

#: The run-time argument saying how many heads are launched together (``Plan.group_for``).
GROUP = "head_group"


def extents(kernel: Kernel) -> tuple[Expr, ...]:
    """The factors of the number of programs."""
    return tuple(a.extent for a in kernel.grid)


def decode(kernel: Kernel, order: Order, low: Arithmetic) -> tuple[Assign, ...]:
    """What turns the program's number into the kernel's grid scalars."""
    axes = {a.name: a for a in kernel.grid}
    assert sorted(order.axes) == sorted(axes), f"{kernel.name}: the plan orders {order.axes}"
    ordered = [axes[n] for n in order.axes]
    pid, group, first, place, heads = map(_var, ("pid", GROUP, "first_head", "place", "n_heads"))
    out = [_scalar("pid", ProgramId())]
    counts: dict[str, Expr] = {}
    for a in ordered:
        counts[a.name] = a.extent if isinstance(a.extent, Var) else _var(f"n_{a.name}")
        if not isinstance(a.extent, Var):
            out.append(_scalar(f"n_{a.name}", low.lowered(a.extent)))
    note = _note(order)
    if not order.group or len(ordered) < 2:
        return (*out, *_nest(pid, ordered, counts, order, note))
    rows, last = ordered[:-1], ordered[-1]
    together = _call("mul", group, counts[last.name])
    left = _call("sub", _product(rows, counts), first)
    out += [
        _scalar("first_head", _call("mul", _call("quotient", pid, together), group), note),
        _scalar("n_heads", _call("min", left, group)),
        _scalar("place", _call("remainder", pid, together)),
        _scalar(last.name, _ordered(_call("quotient", place, heads), last, counts, order)),
        _scalar("bh", _call("add", first, _call("remainder", place, heads))),
    ]
    return (*out, *_nest(_var("bh"), rows, counts, order, ""))


def _nest(
    number: Expr, axes: list[GridAxis], counts: dict[str, Expr], order: Order, note: str
) -> Iterator[Assign]:
    """Digits of ``number``, the slowest axis first."""
    for i, a in enumerate(axes):
        inner = axes[i + 1 :]
        value = _call("quotient", number, _product(inner, counts)) if inner else number
        value = _call("remainder", value, counts[a.name]) if i else value
        yield _scalar(a.name, _ordered(value, a, counts, order), "" if i else note)


def _var(name: str) -> Expr:
    return Var(name, "int")


def _call(op: str, *args: Expr) -> Expr:
    return Call(op, args, "int")


def _scalar(name: str, value: Expr | Node, note: str = "") -> Assign:
    return Assign(Tile(name, (), "int"), value, note)


def _product(axes: list[GridAxis], counts: dict[str, Expr]) -> Expr:
    return reduce(partial(_call, "mul"), (counts[a.name] for a in axes))


def _ordered(value: Expr, axis: GridAxis, counts: dict[str, Expr], order: Order) -> Expr:
    last = _call("sub", counts[axis.name], integer(1))
    return _call("sub", last, value) if axis.name in order.reverse else value


def _note(order: Order) -> str:
    reverse = f"{' and '.join(order.reverse)} from high to low, the longest programs first"
    if order.group:
        together = f"{GROUP} heads at a time, heads fastest"
        return f"{together}; {reverse}" if order.reverse else together
    nested = " > ".join(order.axes)
    return f"{nested}, slowest first; {reverse}" if order.reverse else f"{nested}, slowest first"
