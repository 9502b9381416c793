"""Which compiled kernels a call runs: the planner's first candidate that the compiler confirms here.

A candidate that takes more shared memory than the target has, or spills too much, gives way to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor

from flashgen.errors import PlanError
from flashgen.plan.plan import Plan, Workload

from .arguments import POINTERS
from .check import DTYPES
from .descriptor import describable
from .device import Known
from .launch import VECTOR_BYTES, Compiled, Kind, build, loaded
from .record import Record, Workspace
from .signature import signature
from .source import SPILL_LIMIT_BYTES, generated, next_choices, plans

#: How many plans are compiled in place of one that the compiler refuses.
TRIES = 8
#: What follows a plan that spilled holds at most this share of its elements a thread.
EASED = 0.75
#: A generated module with its kernels, compiled and loaded.
Variant: TypeAlias = tuple[Record, tuple[Compiled, ...]]


class Variants:
    """The variants of one spec; ``inputs`` names the tensors whose innermost stride is free."""

    def __init__(self, spec: str, inputs: tuple[str, ...]) -> None:
        self.spec = spec
        self.inputs = inputs
        self.d_qk, self.d_v = signature(spec).d_qk, signature(spec).d_v
        self._sets: dict[object, list[Variant]] = {}

    def get(self, tensors: Mapping[str, Tensor], work: Workload, target: Known, device: int) -> Variant:
        """The variant for these tensors on the current CUDA device, whose number is ``device``.

        ``tensors`` holds q, k, v, the inputs and the results by name, results on the meta device. The first
        call of a kind of layout compiles the variants for every workload, so that no later length does.
        Raises ``PlanError``, with the reason of each candidate, where none compiles within the limits.
        """
        elem = tensors["q"].dtype
        kinds = {name: kind(name, t, free=name in self.inputs) for name, t in tensors.items()}
        key = (target.name, device, tuple(kinds.items()))
        if key not in self._sets:
            described = kinds["k"].described and kinds["v"].described
            found = plans(self.spec, target.name, DTYPES[elem], described)
            self._sets[key] = [self._first_that_fits(p, elem, kinds, target, described) for p in found]
        return min(self._sets[key], key=lambda v: v[0].plan.nanoseconds(work))

    def _first_that_fits(
        self, plan: Plan, elem: torch.dtype, kinds: dict[str, Kind], target: Known, described: bool
    ) -> Variant:
        """``plan``, or the most promising of the planner's next choices that the compiler accepts.

        After a plan that spilled, only those with clearly fewer elements a thread are compiled.
        """
        reasons: list[str] = []
        spilled = math.inf
        for choice in chain([plan], next_choices(self.spec, plan, described)):
            size = elements(choice, self.d_qk, self.d_v)
            if size > EASED * spilled:
                continue
            record = generated(self.spec, choice)
            for space in record.workspaces:
                t = element(space, elem)
                kinds[space.name] = Kind(POINTERS[t], t.itemsize, aligned=True, strides_aligned=False)
            confirmed = self._confirm(record, kinds, target.smem_bytes)
            if not isinstance(confirmed, str):
                return record, confirmed
            reasons.append(f"{choice.kernels[0]}: {confirmed}")
            if "spills" in confirmed:
                spilled = size
            if len(reasons) == TRIES:
                break
        raise PlanError(
            f"no candidate for {DTYPES[elem]} on {target.name} compiles within its limits:\n  "
            + "\n  ".join(reasons)
        )

    def _confirm(
        self, record: Record, kinds: Mapping[str, Kind], smem_limit: int
    ) -> tuple[Compiled, ...] | str:
        """The compiled kernels of ``record``, or why the compiler's numbers refute its plan."""
        from triton.runtime.errors import OutOfResources

        kernels = []
        for kernel in record.kernels:
            built = build(record, kernel, kinds)
            smem = built.metadata.shared
            if smem > smem_limit:
                return f"{kernel.name} takes {smem} B of shared memory, above {smem_limit}"
            try:
                kernels.append(loaded(built))
            except OutOfResources as e:
                return f"{kernel.name}: {e}"
            spill = kernels[-1].measured.spill_bytes
            if spill > SPILL_LIMIT_BYTES:
                return f"{kernel.name} spills {spill} B a thread, above {SPILL_LIMIT_BYTES}"
        return tuple(kernels)


def elements(plan: Plan, d_qk: int, d_v: int) -> float:
    """Elements a thread works on at a time, in the worst kernel: S, O, and a tile of K and of V, which
    take an address each where they are not aligned. It is what makes registers spill."""

    def of(rows: int, columns: int) -> int:
        return rows * (columns + d_v) + columns * (d_qk + d_v)

    sizes = ((dict(k.sides), k.num_warps) for k in plan.kernels)
    return max(of(s["BLOCK_M"], s["BLOCK_N"]) / warps for s, warps in sizes)


def kind(name: str, t: Tensor, free: bool) -> Kind:
    """What kernels are specialised on for ``t``; ``free``: its innermost stride may be other than 1."""
    size = t.dtype.itemsize
    at = 0 if t.device.type == "meta" else t.data_ptr()  # results are allocated aligned
    unit = (t.dim() - 1,) if free and t.stride(-1) == 1 else ()
    # The innermost stride is no argument of a kernel, or is compiled in; a dim of size 1 is never stepped.
    rest = range(t.dim() - (1 if unit or not free else 0))
    steps = [t.stride(d) for d in rest if t.shape[d] > 1]
    lengths = t.device.type == "meta" and t.dim() < 4  # a result's without a head dim: never compiled in
    return Kind(
        pointer=POINTERS[t.dtype],
        item_bytes=size,
        aligned=at % VECTOR_BYTES == 0,
        strides_aligned=not lengths and all(s * size % VECTOR_BYTES == 0 for s in steps),
        unit=unit,
        described=name in ("k", "v") and at % VECTOR_BYTES == 0 and describable(t),
    )


def element(space: Workspace, elem: torch.dtype) -> torch.dtype:
    """A workspace's dtype: ``elem`` is that of q, everything else an accumulator's."""
    return elem if space.dtype == "elem" else torch.float32
