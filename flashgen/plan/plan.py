"""What the planner decides: numbers for a ``Program``'s symbols, and the order of its launches.

A ``Plan`` is data: it goes into the manifest of a generated kernel, into caches and back (JSON). It
holds no text of a backend and no tensor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.size import counted

#: A kernel that spills more bytes a thread than this gives way to the planner's next candidate.
MAX_SPILL_BYTES = 256


@dataclass(frozen=True)
class Order:
    """The order in which the points of a kernel's grid are launched.

    ``axes``: the grid's axes, slowest first. ``reverse``: axes that run from high to low (the longest
    programs first under causal masks). ``group`` > 0: the axes before the last form one axis of rows,
    ``group`` rows at a time are launched together, the last axis before the rows of a group: with
    ``axes = (b, h, q_tile)`` and ``group = 4`` every q tile of four heads, heads fastest, then the next
    four heads. What is launched is ``Plan.group_for``, passed at run time: it changes no code.
    ``group = 0`` is plain nesting.
    """

    axes: tuple[str, ...]
    reverse: tuple[str, ...] = ()
    group: int = 0

    def together(self, w: Workload) -> int:
        """How many heads are launched together at ``w`` (0: no grouping).

        About ``group``, whole KV heads' shares, in even groups: a small last one would run alone.
        """
        if not self.group:
            return 0
        if "hkv" in self.axes:  # programs belong to KV heads
            return even_groups(w.B * w.Hkv, self.group, 1)
        return even_groups(w.B * w.Hq, self.group, w.Hq // max(w.Hkv, 1))


@dataclass(frozen=True)
class KernelPlan:
    """Numbers for one kernel: tile sides by name, warps, stages of the loops' loads, launch order.

    ``loads``: how the loops read K and V, by pointers or by tensor descriptors made on the host (TMA).
    ``max_registers`` limits the registers of a thread, so that more blocks fit; 0 leaves it to the compiler.
    """

    sides: tuple[tuple[str, int], ...]
    num_warps: int
    num_stages: int
    order: Order
    loads: Literal["pointer", "descriptor"] = "pointer"
    max_registers: int = 0

    def side(self, name: str) -> int:
        """The side called ``name`` (``BLOCK_M``)."""
        return dict(self.sides)[name]

    def short(self) -> str:
        """``128x64 w4 s2 tma r168``: sides, warps, stages, whether tensor descriptors (TMA) load, and
        the most registers a thread where they are limited."""
        sides = "x".join(str(n) for _, n in self.sides)
        extra = " tma" if self.loads == "descriptor" else ""
        extra += f" r{self.max_registers}" if self.max_registers else ""
        return f"{sides} w{self.num_warps} s{self.num_stages}{extra}"

    def __str__(self) -> str:
        sides = " x ".join(f"{n} {s}" for n, s in self.sides)
        extra = ", descriptors" if self.loads == "descriptor" else ""
        extra += f", at most {self.max_registers} registers" if self.max_registers else ""
        return f"{sides}, {counted(self.num_warps, 'warp')}, {counted(self.num_stages, 'stage')}{extra}"


@dataclass(frozen=True)
class Measured:
    """What the compiler made of one kernel, per block and per thread."""

    smem_bytes: int
    registers: int
    spill_bytes: int


@dataclass(frozen=True)
class Plan:
    """A schedule's numbers for one target and dtype, one ``KernelPlan`` per kernel of the program.

    ``smem_bytes``, ``registers`` and ``predicted_us`` are predictions (the largest kernel's, the sum of
    times at ``workload``); ``compiled`` holds the compiler's numbers once the plan is confirmed, and
    ``spill_bytes`` is None until then. ``inline_ptx``: the target takes NVIDIA's inline assembly.
    ``backend``: the GPU language that it is for.
    ``measured_us``: the time of each kernel at ``workload``, where the plan was found by measuring.
    """

    schedule: str
    target: str
    dtype: str
    kernels: tuple[KernelPlan, ...]
    smem_bytes: int
    registers: int
    predicted_us: float
    workload: Workload | None = None
    compiled: tuple[Measured, ...] | None = None
    inline_ptx: bool = False
    backend: str = "triton"
    measured_us: tuple[float, ...] = ()

    @property
    def spill_bytes(self) -> int | None:
        """Bytes a thread spills in the worst kernel; None before compiling."""
        return None if self.compiled is None else max(m.spill_bytes for m in self.compiled)

    def portable(self) -> Plan:
        """The same tiles without what only NVIDIA's compiler takes: for Triton's interpreter."""
        kernels = tuple(replace(k, loads="pointer", max_registers=0) for k in self.kernels)
        return replace(self, kernels=kernels, inline_ptx=False)

    def with_kernel(self, kernel: int, other: Plan) -> Plan:
        """This plan with kernel number ``kernel`` as ``other``, a plan for the same program, has it."""
        if self.kernels[kernel] == other.kernels[kernel]:
            return self

        def swapped(mine: tuple[Any, ...], its: tuple[Any, ...]) -> tuple[Any, ...]:
            return (*mine[:kernel], its[kernel], *mine[kernel + 1 :])

        return replace(
            self,
            kernels=swapped(self.kernels, other.kernels),
            smem_bytes=max(self.smem_bytes, other.smem_bytes),
            registers=max(self.registers, other.registers),
            compiled=None,
        )

    def group_for(self, kernel: int, w: Workload) -> int:
        """How many heads of kernel number ``kernel`` to launch together at ``w`` (``Order.together``)."""
        return self.kernels[kernel].order.together(w)

    def to_json(self) -> str:
        """Stable JSON text; ``from_json`` gives the equal plan back."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan written by ``to_json``. Raises ``PlanError`` for anything else."""
        try:
            d: dict[str, Any] = json.loads(text)
            d["kernels"] = tuple(_kernel(k) for k in d["kernels"])
            d["workload"] = None if d["workload"] is None else Workload(**d["workload"])
            d["measured_us"] = tuple(float(t) for t in d.get("measured_us", ()))
            if d["compiled"] is not None:
                d["compiled"] = tuple(Measured(**m) for m in d["compiled"])
            return cls(**d)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise PlanError(f"not a plan written by this version of flashgen: {e}") from e


def measured_near(plans: Sequence[Plan], w: Workload) -> int | None:
    """The index of the plan measured nearest to the sizes ``w``, within a factor of two; None without one."""
    found = [
        (p.workload.distance(w), i) for i, p in enumerate(plans) if p.measured_us and p.workload is not None
    ]
    return min(found)[1] if found and min(found)[0] <= 1 else None


def even_groups(heads: int, wanted: int, share: int) -> int:
    """The size of groups of about ``wanted`` of ``heads`` heads, whole KV heads' ``share`` each."""
    units = -(-heads // max(share, 1))
    wanted_units = max(wanted // max(share, 1), 1)
    groups = max(-(-units // wanted_units), 1)
    return max(-(-units // groups), 1) * max(share, 1)


def _kernel(d: dict[str, Any]) -> KernelPlan:
    order = Order(tuple(d["order"]["axes"]), tuple(d["order"]["reverse"]), int(d["order"]["group"]))
    sides = tuple((str(n), int(s)) for n, s in d["sides"])
    loads = d.get("loads", "pointer")
    if loads not in ("pointer", "descriptor"):
        raise ValueError(f"unknown kind of loads {loads!r}")
    return KernelPlan(
        sides, int(d["num_warps"]), int(d["num_stages"]), order, loads, int(d.get("max_registers", 0))
    )
