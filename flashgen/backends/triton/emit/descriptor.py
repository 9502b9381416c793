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
    """How ``s`` reads through a descriptor, or None where it cannot: it must bring a box (``ir.box``)."""
    if not is_box(s, body.addresses.tensors[s.src], body.facts.starts):
        return None
    spans = [e for e in s.index if isinstance(e, Var) and e.name in body.facts.starts]
    axes = [body.facts.tiles[e.name].axes[0] for e in spans]
    sizes = [body.sizes[a] for a in axes]
    numbers = [literal(n, body.addresses.sides) or 1 for n in sizes]
    starts = [body.facts.starts[e.name] for e in spans]
    at = tuple(body.low.lowered(e) for e in (*s.index[:-2], *starts))
    name, shape = f"{s.dst.name}_desc", tuple(body.low.lowered(n) for n in sizes)
    load = DescriptorLoad(Var(name, "int"), at, shape, turned=tuple(axes) != s.dst.axes)
    return Descriptor(name, s.src, (*(1 for _ in s.index[:-2]), *numbers), load)
