"""What an emitter hands on: the text of a module, and what a launcher must know about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from flashgen.expr.nodes import Expr

ArgKind = Literal["ptr", "descriptor", "stride", "length", "group", "float", "constexpr"]


@dataclass(frozen=True)
class Arg:
    """One parameter of a kernel.

    ``ptr`` and ``stride`` name their ``tensor`` (and ``dim``); a ``descriptor`` is a host-made
    ``TensorDescriptor`` of its ``tensor`` that reads tiles of shape ``block``; a ``group`` is
    ``Plan.group_for``; a ``constexpr`` has its ``value``. ``reach`` is the largest element number along
    ``dim`` that a kernel multiplies with this stride in 32 bits: the sum of ``reach * stride`` over a
    tensor's strides must stay below 2**31, which a launcher checks.
    """

    name: str
    kind: ArgKind
    tensor: str | None = None
    dim: int | None = None
    value: int | None = None
    reach: int = 0
    block: tuple[int, ...] = ()


@dataclass(frozen=True)
class KernelSource:
    """One launch: ``name[(programs,)](*args, num_warps, num_stages)`` over a one-dimensional grid.

    The number of programs is the product of ``extents`` (over lengths and sides); ``unspecialised`` are
    the parameters whose values must never be compiled in.
    """

    name: str
    args: tuple[Arg, ...]
    extents: tuple[Expr, ...]
    sides: Mapping[str, int]
    num_warps: int
    num_stages: int
    max_registers: int = 0

    @property
    def unspecialised(self) -> tuple[str, ...]:
        """Names of the arguments that hold for every value."""
        return tuple(a.name for a in self.args if a.kind in ("length", "group"))


class Kernel(Protocol):
    """One kernel of a generated module, as a compiler needs it."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> Sequence[Arg]: ...


class Module(Protocol):
    """A generated module: its text and its kernels in launch order. ``Source`` is one."""

    @property
    def text(self) -> str: ...
    @property
    def kernels(self) -> Sequence[Kernel]: ...


@dataclass(frozen=True)
class Provenance:
    """Where a program comes from, for the header: the spec's canonical JSON and what it says in words, what
    numbers in the kernels are, and what else there is to say, by name. ``elements``: what q may be, where
    that is not what the spec declares of the plan's size."""

    spec_json: str
    description: str = ""
    score: str = "s"
    mask: str | None = None
    versions: tuple[str, ...] = ()
    numbers: tuple[tuple[float | int, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    elements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A generated module, its kernels in launch order, and the manifest (JSON-ready) beside it."""

    text: str
    kernels: tuple[KernelSource, ...]
    manifest: dict[str, Any] = field(default_factory=dict)
