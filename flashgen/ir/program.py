"""The physical level: a ``Program`` of kernels over tiles. It is executable (``ir/interpret.py``), is
what the templates print (``emit``) and what the planner reads sizes and costs off (``plan``).

Every size, index, guard and bound is an expression (``flashgen.expr.nodes``) over run-time lengths
(``B Hq Hkv Nq Nk``), tile sides (``BLOCK_M BLOCK_N``) and the kernel's scalars; numbers for the sides
come with the plan. Tiles have named axes, so S and its transpose are the same mathematics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flashgen.expr.nodes import Expr

#: ``elem`` is the dtype of q, k, v; ``acc`` is fp32 (fp64 for fp64 tensors); others are themselves.
DType: TypeAlias = str


@dataclass(frozen=True)
class Tensor:
    """A tensor in HBM. ``role`` ``input`` is a spec's named input, ``saved`` what a forward pass left and
    the gradients of its results, ``seed`` the dropout's seed (int64, one element). ``argument`` is the
    name that was wanted for an input (the user's), or for what is made of one: it gives way where the program
    has another tensor of that name."""

    name: str
    dims: tuple[Expr, ...]
    dtype: DType
    role: Literal["q", "k", "v", "input", "saved", "seed", "out", "workspace"]
    argument: str = ""


@dataclass(frozen=True)
class Axis:
    """A tile axis: a name and a side. ``q`` and ``k`` are sequence axes, others pieces of a head dim."""

    name: str
    size: Expr


@dataclass(frozen=True)
class Tile:
    """A value on chip, assigned where it is defined. No axes: one number per program."""

    name: str
    axes: tuple[str, ...]
    dtype: DType


@dataclass(frozen=True)
class Scalar:
    """``name = value``: one value per program (bounds, ``h // group``, ``len[b]``). May read inputs."""

    name: str
    value: Expr
    note: str = ""


@dataclass(frozen=True)
class Coords:
    """``dst = start + [0, side of axis)``: the element numbers a tile covers (int, one axis)."""

    dst: Tile
    start: Expr


@dataclass(frozen=True)
class Load:
    """``dst = src[index]`` where ``guard`` holds, ``fill`` elsewhere.

    An index entry is a scalar expression, the name of a ``Coords`` tile (a slice of the tensor), or an
    int tile (a gather). ``guard`` protects bounds, it is never the mask.
    """

    dst: Tile
    src: str
    index: tuple[Expr, ...]
    guard: Expr | None = None
    fill: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Store:
    """``dst[index] = value`` where ``guard`` holds. ``value`` names a tile."""

    dst: str
    index: tuple[Expr, ...]
    value: Tile
    guard: Expr | None = None


@dataclass(frozen=True)
class Dot:
    """``dst = a . b`` contracted over one shared axis, plus ``acc`` where given (an expression in tiles).

    ``precision``: ``ieee`` or ``tf32``, for fp32 operands. ``only``, over the contracted axis: what ``b``
    holds elsewhere counts as 0, be it NaN.
    """

    dst: Tile
    a: Tile
    b: Tile
    contract: str
    acc: Expr | None = None
    precision: str = "ieee"
    note: str = ""
    only: Expr | None = None


@dataclass(frozen=True)
class Map:
    """``dst = value``, elementwise over tiles and scalars, broadcast by axis name."""

    dst: Tile
    value: Expr
    note: str = ""


@dataclass(frozen=True)
class Reduce:
    """``dst = op over axis of src`` with op ``max`` or ``sum``."""

    dst: Tile
    src: Tile
    axis: str
    op: Literal["max", "sum"]
    note: str = ""


@dataclass(frozen=True)
class Keep:
    """``dst``, bool over q and k, holds for the pairs that dropout at probability ``p`` keeps.

    ``seed`` is the loaded seed, ``head`` the number b * Hq + h, ``q_lo`` and ``k_lo`` the first row and
    column of the tile, multiples of 16. The bits are ``philox``'s, the same for a pair in every tile.
    """

    dst: Tile
    seed: Tile
    head: Expr
    q_lo: Expr
    k_lo: Expr
    p: float
    note: str = ""


@dataclass(frozen=True)
class Range:
    """Tile numbers ``lo <= j < hi``; empty when ``hi <= lo``."""

    lo: Expr
    hi: Expr


@dataclass(frozen=True)
class Loop:
    """``for var in domain: body``. The domain is disjoint ranges one after another.

    ``carried`` tiles exist before the loop, and the body assigns each exactly once: reads before that
    see the last pass's value. ``mask`` says which tiles the domain holds: ``full`` (every pair visible),
    ``partial`` (some hidden), ``all`` (not told apart).
    """

    var: str
    domain: tuple[Range, ...]
    carried: tuple[str, ...]
    body: tuple[Stmt, ...]
    mask: Literal["full", "partial", "all"] = "all"
    note: str = ""


@dataclass(frozen=True)
class Fence:
    """HBM writes before this are seen by reads of the same program after it."""


Stmt: TypeAlias = Scalar | Coords | Load | Store | Dot | Map | Reduce | Keep | Loop | Fence


@dataclass(frozen=True)
class GridAxis:
    """One axis of a kernel's launch: a scalar ``name`` runs over [0, extent)."""

    name: str
    extent: Expr


@dataclass(frozen=True)
class Kernel:
    """One launch: a program for each point of ``grid``; the plan chooses the order of the points.

    ``longest``: the grid axis along which programs have more and more work (causal masks), and whether its
    ``first`` or its ``last`` point has the most. ``invented`` are the names in it that give way to others.
    """

    name: str
    grid: tuple[GridAxis, ...]
    axes: tuple[Axis, ...]
    body: tuple[Stmt, ...]
    note: str = ""
    longest: tuple[str, Literal["first", "last"]] | None = None
    invented: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sum:
    """After the kernels: every element of ``src`` is added to ``dst[index]``, which starts at 0.

    ``axes`` name the dims of ``src``; the index is in terms of them, of ``hkv`` and of lengths.
    """

    dst: str
    src: str
    axes: tuple[str, ...]
    index: tuple[Expr, ...]


@dataclass(frozen=True)
class Program:
    """Kernels launched in order over ``tensors``, then ``sums`` in a fixed order. ``floats`` are the float
    arguments (``scale``)."""

    name: str
    schedule: str
    tensors: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    floats: tuple[str, ...] = ()
    note: str = ""
    sums: tuple[Sum, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """The tensors that a call gives, in order."""
        return tuple(t.name for t in self.tensors if t.role not in ("out", "workspace"))

    @property
    def results(self) -> tuple[str, ...]:
        """The tensors that a call returns, in order."""
        return tuple(t.name for t in self.tensors if t.role == "out")

    def tensor(self, name: str) -> Tensor:
        """The tensor called ``name``."""
        return next(t for t in self.tensors if t.name == name)


def statements(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Every statement of ``body`` and of the loops in it, in order."""
    out: list[Stmt] = []
    for s in body:
        out.append(s)
        if isinstance(s, Loop):
            out.extend(statements(s.body))
    return tuple(out)
