"""The door: what the house knows of a GPU language. Behind it is a room of ``flashgen/backends``.

A target names its backend; ``backend_of`` opens the door. How a room is found says ``flashgen.languages``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from flashgen import languages
from flashgen.ir.program import Program
from flashgen.plan.model.facts import Axes, KernelFacts, LoadFacts
from flashgen.plan.model.tiling import Tiling
from flashgen.plan.plan import KernelPlan, Measured, Order, Plan
from flashgen.plan.source import Module, Provenance, Source
from flashgen.targets.target import Target


@dataclass(frozen=True)
class Term:
    """A part of shared memory: ``copies`` (in words: ``each``) of a tile over ``axes``, of ``item`` bytes an
    element."""

    what: str
    kind: Literal["kept", "buffer", "scratch"]
    copies: int
    each: str
    axes: Axes
    item: int


@dataclass(frozen=True)
class Sizes:
    """What a backend predicts that a kernel takes: the parts of shared memory a block, 32-bit registers a
    thread by what holds them, and bytes a thread of them that spill."""

    smem: Sequence[Term]
    smem_bytes: int
    register_parts: Mapping[str, float]
    spill_bytes: int

    @property
    def registers(self) -> float:
        """Registers a thread would like; above its limit they spill."""
        return sum(self.register_parts.values())

    @property
    def measured(self) -> Measured:
        """The same as the compiler would say it."""
        return Measured(self.smem_bytes, round(self.registers), self.spill_bytes)


@dataclass(frozen=True)
class Room:
    """What a tiling asks of a thread's registers, and of shared memory.

    ``kind``: the kind of code it becomes, of which a compiler may make none that is sound. ``held``:
    registers a thread that named tiles, addresses and operands take by estimate, ``beside`` those that it
    needs beside them at least; ``elements`` of a tile of scores that it has; ``limit``: registers it may
    have. ``ahead``: dots of the next pass run beside this one's work, and hold more than can be counted.
    ``smem``: bytes of shared memory predicted, ``smem_limit`` those that exist. ``code``: the numbers that
    the code depends on; ``family``: tilings of one spill alike.
    """

    code: KernelPlan
    kind: tuple[object, ...]
    held: float
    beside: float
    elements: float
    limit: int
    warps: int
    ahead: bool
    smem: int
    smem_limit: int


@dataclass(frozen=True)
class Verdict:
    """What the compiler made of a kernel: its numbers, or why there are none."""

    measured: Measured | None
    error: str = ""


@dataclass(frozen=True)
class Refinement:
    """A way to better a tiling: ``of`` it, with what is predicted of it, the same tiles with other knobs.
    ``needs``: what must limit the blocks on an SM for that (a name of ``tiling.block_limits``); or
    nothing."""

    of: Callable[[Tiling, Measured], list[KernelPlan]]
    needs: str = ""


#: What a backend compiles a kernel for of each tensor, by name: its own.
Kinds: TypeAlias = Mapping[str, Any] | None


class Backend(Protocol):
    """A GPU language. What it decides about a kernel it decides here, once."""

    name: str

    def knobs(self, f: KernelFacts, order: Order) -> Iterator[KernelPlan]:
        """Every assignment of sides and of the backend's own numbers, sensible or not."""

    def refinements(self, boxes: bool) -> Sequence[Refinement]:
        """Ways to better a tiling, in the order in which they are tried. ``boxes``: the tensors lie so that
        the hardware can copy boxes of them (``ir.box``)."""

    def misfit(self, t: Tiling) -> str:
        """Why a tiling makes no sense whatever it costs; empty where it does."""

    def sizes(self, t: Tiling) -> Sizes:
        """What the kernel takes, as predicted."""

    def smem_bytes(self, t: Tiling) -> int:
        """Bytes of shared memory a block takes: ``sizes``' own, without the rest."""

    def fetched(self, t: Tiling, x: LoadFacts) -> int:
        """Bytes that L2 sends for a loaded tile."""

    def room(self, t: Tiling) -> Room:
        """What the tiling asks for, as the search compares it with what the compiler said of others."""

    def print(self, program: Program, plan: Plan, given: Provenance, *more: tuple[Program, Plan]) -> Source:
        """The module of a program, and of ``more`` programs in one file with it."""

    def boxes(self, program: Program, dtype: str) -> bool:
        """Whether aligned contiguous tensors lie so that the hardware can copy the boxes that loops read."""

    def compile(
        self, program: Program, source: Module, kernel: int, plan: Plan, target: Target, kinds: Kinds = None
    ) -> Verdict:
        """What the compiler makes of kernel number ``kernel``, without the GPU; ``kinds``: of its tensors, by
        default of aligned contiguous ones. Raises ``CannotRun`` where there is no compiler."""


def register(backend: Backend) -> None:
    """Make a backend that lives elsewhere known by its name."""
    languages.register(backend.name, backend)


def backend_of(target: Target) -> Backend:
    """The backend that serves ``target``. Raises ``PlanError`` where there is none of that name."""
    return backend_named(target.backend)


def backend_named(name: str) -> Backend:
    """The backend called ``name`` (``Plan.backend``). Raises ``PlanError`` where there is none."""
    found: Backend = languages.backend(name)
    return found
