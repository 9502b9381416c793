"""The order of programs: from the program id of a one-dimensional launch to a point of the grid."""

from __future__ import annotations

from collections.abc import Callable

from flashgen.expr.nodes import Expr, Var
from flashgen.ir.program import GridAxis, Kernel
from flashgen.plan.plan import Order

#: The run-time argument saying how many heads are launched together (``Plan.group_for``).
GROUP = "head_group"


def extents(kernel: Kernel) -> tuple[Expr, ...]:
    """The factors of the number of programs."""
    return tuple(a.extent for a in kernel.grid)


def decode(kernel: Kernel, order: Order, text: Callable[[Expr], str]) -> list[tuple[str, str, str]]:
    """Assignments (name, value, comment) that turn ``pid`` into the kernel's grid scalars."""
    axes = {a.name: a for a in kernel.grid}
    assert sorted(order.axes) == sorted(axes), f"{kernel.name}: the plan orders {order.axes}"
    ordered = [axes[n] for n in order.axes]
    out: list[tuple[str, str, str]] = [("pid", "tl.program_id(0)", "")]
    counts: dict[str, str] = {}
    for a in ordered:
        counts[a.name] = a.extent.name if isinstance(a.extent, Var) else f"n_{a.name}"
        if not isinstance(a.extent, Var):
            out.append((counts[a.name], text(a.extent), ""))
    note = _note(order)
    if order.group and len(ordered) > 1:
        rows, last = ordered[:-1], ordered[-1]
        n = counts[last.name]
        out += [
            ("first_head", f"pid // ({GROUP} * {n}) * {GROUP}", note),
            ("n_heads", f"tl.minimum({_product(rows, counts)} - first_head, {GROUP})", ""),
            ("place", f"pid % ({GROUP} * {n})", ""),
            (last.name, _ordered("place // n_heads", last, counts, order), ""),
            ("bh", "first_head + place % n_heads", ""),
        ]
        return out + _nest("bh", rows, counts, order, "")
    return out + _nest("pid", ordered, counts, order, note)


def _nest(
    number: str, axes: list[GridAxis], counts: dict[str, str], order: Order, note: str
) -> list[tuple[str, str, str]]:
    """Digits of ``number``, the slowest axis first."""
    out = []
    for i, a in enumerate(axes):
        inner = axes[i + 1 :]
        value = number
        if inner:
            by = _product(inner, counts)
            value += f" // ({by})" if len(inner) > 1 else f" // {by}"
        if i:
            value += f" % {counts[a.name]}"
        out.append((a.name, _ordered(value, a, counts, order), "" if i else note))
    return out


def _product(axes: list[GridAxis], counts: dict[str, str]) -> str:
    return " * ".join(counts[a.name] for a in axes)


def _ordered(value: str, axis: GridAxis, counts: dict[str, str], order: Order) -> str:
    return f"{counts[axis.name]} - 1 - {value}" if axis.name in order.reverse else value


def _note(order: Order) -> str:
    reverse = f"{' and '.join(order.reverse)} from high to low, the longest programs first"
    if order.group:
        together = f"{GROUP} heads at a time, heads fastest"
        return f"{together}; {reverse}" if order.reverse else together
    nested = " > ".join(order.axes)
    return f"{nested}, slowest first; {reverse}" if order.reverse else f"{nested}, slowest first"
