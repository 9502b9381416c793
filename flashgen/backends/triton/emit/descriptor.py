"""Tiles of rows (K and V, or Q and dO) read by tensor descriptors (TMA): no addresses, and elements past
the end of a dim arrive as zeros, so that a guard on the length needs no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashgen.expr.nodes import Var
from flashgen.ir.box import is_box
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
    """How ``s`` reads through a descriptor, or None where it cannot: it must bring a box (``ir.box``)."""
    if not is_box(s, body.addresses.tensors[s.src], body.facts.starts):
        return None
    spans = [e for e in s.index if isinstance(e, Var) and e.name in body.facts.starts]
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
