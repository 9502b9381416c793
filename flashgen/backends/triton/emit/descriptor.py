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

if TYPE_CHECKING:
    from .body import Body


@dataclass(frozen=True)
class Descriptor:
    """A load through a descriptor argument: coordinates, the tile as it comes, whether it is transposed."""

    name: str
    tensor: str
    block: tuple[int, ...]
    at: str
    shape: str
    turned: bool


def describe(s: Load, body: Body) -> Descriptor | None:
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
    at = [body.out.text(e) for e in (*s.index[:-2], *starts)]
    return Descriptor(
        name=f"{s.dst.name}_desc",
        tensor=s.src,
        block=(*(1 for _ in s.index[:-2]), *numbers),
        at=", ".join(at),
        shape=", ".join(body.out.text(n) for n in sizes),
        turned=tuple(axes) != s.dst.axes,
    )


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
