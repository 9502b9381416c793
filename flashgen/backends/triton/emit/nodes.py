"""The forms that Triton has of its own, as nodes of a listing: what a kernel does besides elementwise values.

A pointer is an expression: a tensor's argument plus scalars and offsets (``address``). A dtype is Triton's
name of it, or the argument whose elements have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from flashgen.backends.listing import Node
from flashgen.expr.nodes import Const, Expr, Var
from flashgen.ir.program import Tile

Dtype: TypeAlias = str | Var


@dataclass(frozen=True)
class ProgramId(Node):
    """Which program of the launch this is."""


@dataclass(frozen=True)
class Span(Node):
    """``start + [0, size)`` for numbers known when the kernel is compiled."""

    start: Const
    size: Expr


@dataclass(frozen=True)
class Full(Node):
    """A tile of one value."""

    value: Const
    shape: tuple[Expr, ...]
    dtype: Dtype


@dataclass(frozen=True)
class Copy(Node):
    """A tile as it is, whatever its dtype."""

    tile: Tile


@dataclass(frozen=True)
class Broadcast(Node):
    """A value that does not vary along every axis of its tile."""

    value: Expr
    shape: tuple[Expr, ...]


@dataclass(frozen=True)
class Cast(Node):
    """A value in another dtype."""

    value: Expr | Broadcast
    dtype: Dtype


@dataclass(frozen=True)
class Kept(Node):
    """A value of a tile's own elements, in their own dtype."""

    value: Expr


@dataclass(frozen=True)
class Load(Node):
    """Elements at ``pointer``; ``fill`` where the mask is false."""

    pointer: Expr
    mask: Expr | None
    fill: Const
    dtype: Dtype | None = None


@dataclass(frozen=True)
class DescriptorLoad(Node):
    """A tile of ``shape`` at the coordinates ``at``, ``turned`` if its axes come in the other order."""

    descriptor: Var
    at: tuple[Expr, ...]
    shape: tuple[Expr, ...]
    turned: bool


@dataclass(frozen=True)
class Store(Node):
    """``value`` to ``pointer`` where the mask holds."""

    pointer: Expr
    value: Tile
    mask: Expr | None


@dataclass(frozen=True)
class Dot(Node):
    """``a`` (rows, contract) times ``b`` (contract, columns), plus ``acc``; how fp32 operands are taken."""

    a: Tile
    b: Tile
    contract: str
    acc: Expr | None
    precision: str


@dataclass(frozen=True)
class Reduced(Node):
    """``op`` over one axis of ``src``."""

    op: str
    src: Tile
    axis: str


@dataclass(frozen=True)
class Drawn(Node):
    """The pairs that dropout keeps (``philox.j2``): the two words of the seed, the head, the first row and
    column, and the sides of the tile."""

    words: tuple[Var, Var]
    at: tuple[Expr, ...]
    threshold: int
    sides: tuple[Expr, ...]
    turned: bool


@dataclass(frozen=True)
class Fence(Node):
    """Writes before it are seen after it."""
