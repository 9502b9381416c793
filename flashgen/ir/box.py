"""Which loads bring a box: consecutive rows and columns of a matrix, zeros where it ends.

Hardware that copies boxes (tensor descriptors, TMA) can do such a load as one, and no other. Whether it does
is a backend's decision; what sizes it, prints it and launches it asks here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, Var

from .program import Load, Tensor

#: Matrices whose innermost stride is always 1.
MATRICES = ("q", "k", "v", "saved")


def is_box(s: Load, tensor: Tensor, numbers: Container[str]) -> bool:
    """Whether ``s`` reads a box of ``tensor``: scalars, then two axes of consecutive numbers, and no guard
    but the tensor's own bounds. ``numbers``: the tiles of consecutive numbers that are known (``Coords``)."""
    spans = [e for e in s.index if isinstance(e, Var) and e.name in numbers]
    if tensor.role not in MATRICES or len(spans) != 2 or tuple(s.index[-2:]) != tuple(spans):
        return False
    return s.fill == 0 and _only_bounds(s.guard, dict(zip(s.index, tensor.dims, strict=True)))


def _only_bounds(guard: Expr | None, extents: Mapping[Expr, Expr]) -> bool:
    """Whether a guard says no more than index < extent."""
    if guard is None:
        return True
    if isinstance(guard, Call) and guard.op == "and":
        return all(_only_bounds(a, extents) for a in guard.args)
    if isinstance(guard, Call) and guard.op == "lt":
        inside = extents.get(guard.args[0])
        return inside is not None and al.at_most(guard.args[1], inside) and al.at_most(inside, guard.args[1])
    return False
