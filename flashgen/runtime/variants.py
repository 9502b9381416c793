"""Which compiled kernels a call runs: the planner's first candidate that the compiler confirms here.

A candidate that takes more shared memory than the target has, or spills too much, gives way to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from flashgen.errors import PlanError
from flashgen.plan.plan import Workload

from .arguments import POINTERS
from .check import DTYPES
from .descriptor import describable
from .device import Known
from .launch import VECTOR_BYTES, Compiled, Kind, build, loaded
from .record import Record, Workspace
from .source import SPILL_LIMIT_BYTES, candidates

#: A generated module with its kernels, compiled and loaded.
Variant: TypeAlias = tuple[Record, tuple[Compiled, ...]]


class Variants:
    """The variants of one spec; ``inputs`` names the tensors whose innermost stride is free."""

    def __init__(self, spec: str, inputs: tuple[str, ...]) -> None:
        self.spec = spec
        self.inputs = inputs
        self._ready: dict[object, Variant] = {}
        self._refused: dict[object, str] = {}

    def get(self, tensors: Mapping[str, Tensor], work: Workload, target: Known, device: int) -> Variant:
        """The variant for these tensors on the current CUDA device, whose number is ``device``.

        ``tensors`` holds q, k, v, the inputs and the results by name, results on the meta device.
        Raises ``PlanError``, with the reason of each candidate, where none compiles within the limits.
        """
        elem = tensors["q"].dtype
        kinds = {name: kind(name, t, free=name in self.inputs) for name, t in tensors.items()}
        reasons = []
        for record in candidates(self.spec, target.name, DTYPES[elem], work):
            for space in record.workspaces:
                t = element(space, elem)
                kinds[space.name] = Kind(POINTERS[t], t.itemsize, aligned=True, strides_aligned=False)
            undescribed = [
                a.tensor for k in record.kernels for a in k.args
                if a.kind == "descriptor" and not kinds[a.tensor or ""].described
            ]  # fmt: skip
            if undescribed:
                reasons.append(f"{record.plan.kernels[0]}: {undescribed[0]} is not laid out for descriptors")
                continue
            key = (record.path, record.text, device, tuple(kinds.items()))
            if key not in self._ready and key not in self._refused:
                self._confirm(key, record, kinds, target.smem_bytes)
            if key in self._ready:
                return self._ready[key]
            reasons.append(f"{record.plan.kernels[0]}: {self._refused[key]}")
        raise PlanError(
            f"no candidate for {DTYPES[elem]} on {target.name} compiles within its limits:\n  "
            + "\n  ".join(reasons)
        )

    def _confirm(self, key: object, record: Record, kinds: Mapping[str, Kind], smem_limit: int) -> None:
        from triton.runtime.errors import OutOfResources

        kernels = []
        for kernel in record.kernels:
            built = build(record, kernel, kinds)
            smem = built.metadata.shared
            if smem > smem_limit:
                self._refused[key] = f"{kernel.name} takes {smem} B of shared memory, above {smem_limit}"
                return
            try:
                kernels.append(loaded(built))
            except OutOfResources as e:
                self._refused[key] = f"{kernel.name}: {e}"
                return
            spill = kernels[-1].measured.spill_bytes
            if spill > SPILL_LIMIT_BYTES:
                self._refused[key] = f"{kernel.name} spills {spill} B a thread, above {SPILL_LIMIT_BYTES}"
                return
        self._ready[key] = record, tuple(kernels)


def kind(name: str, t: Tensor, free: bool) -> Kind:
    """What kernels are specialised on for ``t``; ``free``: its innermost stride may be other than 1."""
    size = t.dtype.itemsize
    at = 0 if t.device.type == "meta" else t.data_ptr()  # results are allocated aligned
    steps = [s for n, s in zip(t.shape, t.stride(), strict=True) if n > 1 and s != 1]
    return Kind(
        pointer=POINTERS[t.dtype],
        item_bytes=size,
        aligned=at % VECTOR_BYTES == 0,
        # lse's strides are lengths, and those are never compiled in.
        strides_aligned=name != "lse" and all(s * size % VECTOR_BYTES == 0 for s in steps),
        unit=(t.dim() - 1,) if free and t.stride(-1) == 1 else (),
        described=at % VECTOR_BYTES == 0 and describable(t),
    )


def element(space: Workspace, elem: torch.dtype) -> torch.dtype:
    """A workspace's dtype: ``elem`` is that of q, everything else an accumulator's."""
    return elem if space.dtype == "elem" else torch.float32
