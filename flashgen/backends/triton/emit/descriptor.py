"""Tiles of rows (K and V, or Q and dO) read by tensor descriptors (TMA): no addresses, and elements past
the end of a dim arrive as zeros, so that a guard on the length needs no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, Var
from flashgen.ir.program import Load

from .facts import literal
from .nodes import DescriptorLoad

if TYPE_CHECKING:
    from .lower import Lower


@dataclass(frozen=True)
class Descriptor:
    """A descriptor argument of ``tensor``, and a load of a tile of shape ``block`` through it."""

    name: str
    tensor: str
    block: tuple[int, ...]
    load: DescriptorLoad


def describe(s: Load, body: Lower) -> Descriptor | None:
    """How ``s`` reads through a descriptor, or None where it cannot: scalars, then two tile axes of which
    the last is contiguous, and no guard but the tensor's own bounds."""
    tensor = body.addresses.tensors[s.src]
    spans = [e for e in s.index if isinstance(e, Var) and e.name in body.facts.starts]
    if tensor.role not in ("q", "k", "v", "saved") or len(spans) != 2 or tuple(s.index[-2:]) != tuple(spans):
        return None
    if s.fill != 0 or not _only_bounds(s.guard, dict(zip(s.index, tensor.dims, strict=True))):
        return None
    axes = [body.facts.tiles[e.name].axes[0] for e in spans]
    sizes = [body.sizes[a] for a in axes]
    numbers = [literal(n, body.addresses.sides) or 1 for n in sizes]
    starts = [body.facts.starts[e.name] for e in spans]
    at = tuple(body.low.lowered(e) for e in (*s.index[:-2], *starts))
    name, shape = f"{s.dst.name}_desc", tuple(body.low.lowered(n) for n in sizes)
    load = DescriptorLoad(Var(name, "int"), at, shape, turned=tuple(axes) != s.dst.axes)
    return Descriptor(name, s.src, (*(1 for _ in s.index[:-2]), *numbers), load)


def _only_bounds(guard: Expr | None, extents: dict[Expr, Expr]) -> bool:
    """Whether a guard says no more than index < extent."""
    if guard is None:
        return True
    if isinstance(guard, Call) and guard.op == "and":
        return all(_only_bounds(a, extents) for a in guard.args)
    if isinstance(guard, Call) and guard.op == "lt":
        inside = extents.get(guard.args[0])
        return inside is not None and al.at_most(guard.args[1], inside) and al.at_most(inside, guard.args[1])
    return False
