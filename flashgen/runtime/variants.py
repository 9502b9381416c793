"""Which compiled kernels a call runs: those of the plan for its sizes, as the compiler accepts them.

Nothing is compiled before a call picks it. A candidate that takes more shared memory than the target has,
spills too much or is compiled wrongly gives way to the next (``plan.select``). A plan found by measuring runs
as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flashgen.backends.triton.specialise import ROWS, VECTOR_BYTES, Kind, describable_loads
from flashgen.ir.workload import Workload
from flashgen.plan.plan import KernelPlan, Measured, Plan, measured_near

from .arguments import POINTERS
from .cache import entry
from .check import DTYPES
from .descriptor import describable
from .device import Known
from .launch import Compiled, build, current_gpu, loaded
from .patience import said
from .record import Record, Workspace
from .source import best_plan, boxes, generated, measured, selected, unsound

#: A generated module with its kernels, compiled and loaded.
Variant: TypeAlias = tuple[Record, tuple[Compiled, ...]]


@dataclass(frozen=True)
class Asked:
    """For what a plan is compiled: q's dtype, what kernels are specialised on for each tensor, the device,
    and whether tensor descriptors can read what loops read."""

    elem: torch.dtype
    kinds: Mapping[str, Kind]
    target: Known
    described: bool


class Variants:
    """The variants of one spec; ``inputs`` names the tensors whose innermost stride is free. ``tuned``: plans
    found by measuring take part."""

    def __init__(
        self, spec: str, inputs: tuple[str, ...], schedule: str = "flash2", tuned: bool = True
    ) -> None:
        self.spec = spec
        self.tuned = tuned
        self.schedule = schedule
        self.inputs = inputs
        self._made: dict[object, Variant | None] = {}
        self._measured: dict[object, tuple[Plan, ...]] = {}

    def get(self, tensors: Mapping[str, Tensor], work: Workload, target: Known, device: int) -> Variant:
        """The variant for these tensors on the current CUDA device, whose number is ``device``.

        ``tensors`` holds q, k, v, the inputs and the results by name, results on the meta device. The first
        call of a kind of layout, and any whose sizes want another plan, compiles one. Raises ``PlanError``,
        with the reason of each candidate, where none compiles within the limits.
        """
        elem = tensors["q"].dtype
        kinds = kinds_of(tensors, self.inputs)
        ask = Asked(elem, kinds, target, describable_loads(boxes(self.spec, self.schedule), kinds))
        key = (target.name, device, tuple(kinds.items()))
        if (known := self._tuned(key, work, ask)) is not None:
            return known
        plan = best_plan(self.spec, target.name, DTYPES[elem], work, self.schedule, ask.described)
        found = self._made.get((key, plan.kernels)) or self._made.get((key, plan))
        if found is None:
            found = self._selected(plan, ask)
            accepted = found[0].plan.kernels == plan.kernels  # else what is next depends on the workload
            self._made[key, plan.kernels if accepted else plan] = found
        return found

    def _tuned(self, key: object, work: Workload, ask: Asked) -> Variant | None:
        """What was measured at sizes near these; None where nothing was, or where it does not compile."""
        if not self.tuned:
            return None
        if key not in self._measured:
            names = DTYPES[ask.elem], ask.target.name
            self._measured[key] = measured(self.spec, self.schedule, *names, ask.described)
        plans = self._measured[key]
        near = measured_near(plans, work)
        if near is None:
            return None
        if (key, plans[near]) not in self._made:
            self._made[key, plans[near]] = self._as_it_is(plans[near], ask)
        return self._made[key, plans[near]]

    def _as_it_is(self, plan: Plan, ask: Asked) -> Variant | None:
        """A settled plan; None where it does not compile here."""
        compiled = self._compiled([(i, plan) for i in range(len(plan.kernels))], ask)
        fine = tuple(c for c in compiled if not isinstance(c, str))
        return (generated(self.spec, plan), fine) if len(fine) == len(compiled) else None

    def _selected(self, plan: Plan, ask: Asked) -> Variant:
        """``plan`` as the compiler takes it. What is settled is kept in the cache, so that a later process
        searches nothing."""
        fresh: list[Variant] = []

        def search() -> dict[str, str]:
            fresh.append(self._searched(plan, ask))
            return {"plan.json": fresh[0][0].plan.to_json()}

        key = selection_key(self.spec, plan, ask.described, ask.kinds)
        _, files = entry(key, search, alone=True)
        if fresh:
            return fresh[0]
        found = self._as_it_is(Plan.from_json(files["plan.json"]), ask)
        return found or self._searched(plan, ask)  # what another compiler settled does not run here

    def _searched(self, plan: Plan, ask: Asked) -> Variant:
        ready: dict[tuple[int, KernelPlan], Compiled] = {}

        def compile(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
            found = self._compiled(batch, ask)
            for (number, p), c in zip(batch, found, strict=True):
                if not isinstance(c, str):
                    ready[number, p.kernels[number]] = c
            return [c if isinstance(c, str) else c.measured for c in found]

        best = selected(self.spec, plan, ask.described, compile)
        return generated(self.spec, best), tuple(ready[i, k] for i, k in enumerate(best.kernels))

    def _compiled(self, batch: Sequence[tuple[int, Plan]], ask: Asked) -> list[Compiled | str]:
        """The kernel of each number in its plan, or why it cannot run: compiled side by side (most of a
        compile holds no lock of Python's), loaded one after the other onto the current device."""

        def built(one: tuple[int, Plan]) -> Any:
            number, record = one[0], generated(self.spec, one[1])
            known = {**ask.kinds, **{w.name: _workspace(w, ask.elem) for w in record.workspaces}}
            return build(record, record.kernels[number], known, gpu)

        def looked_at(found: Compiled | str) -> Compiled | str:
            return found if isinstance(found, str) else unsound(ask.target.name, found.code) or found

        gpu = current_gpu()  # of this thread
        words = [_words(self.spec, *one, ask.target.name) for one in batch]
        with said(words), ThreadPoolExecutor(min(len(batch), os.cpu_count() or 1)) as pool:
            here = [_loaded(b, ask) for b in pool.map(built, batch)]
            return list(pool.map(looked_at, here))


def selection_key(spec: str, plan: Plan, described: bool, kinds: Mapping[str, Kind]) -> dict[str, object]:
    """The key in the cache of what the compiler took for ``plan`` and tensors of these kinds."""
    bare = replace(plan, compiled=None)
    found = [[name, asdict(k)] for name, k in kinds.items()]
    return {"what": "selected", "spec": spec, "plan": bare.to_json(), "described": described, "kinds": found}


def _words(spec: str, number: int, plan: Plan, target: str) -> str:
    name, short = generated(spec, plan).kernels[number].name, plan.kernels[number].short()
    return f"compiling {name} for {target} ({short})"


def _loaded(built: Any, ask: Asked) -> Compiled | str:
    from triton.runtime.errors import OutOfResources

    smem = built.metadata.shared
    if smem > ask.target.smem_bytes:
        return f"takes {smem} B of shared memory, above {ask.target.smem_bytes}"
    try:
        return loaded(built)
    except OutOfResources as e:
        return str(e)


def kinds_of(tensors: Mapping[str, Tensor], inputs: Sequence[str]) -> dict[str, Kind]:
    """The kind of each tensor by name; ``inputs`` names those whose innermost stride is free."""
    return {name: kind(name, t, free=name in inputs) for name, t in tensors.items()}


def kind(name: str, t: Tensor, free: bool) -> Kind:
    """What kernels are specialised on for ``t``; ``free``: its innermost stride may be other than 1."""
    name, size = name.strip("()"), t.dtype.itemsize
    at = 0 if t.device.type == "meta" else t.data_ptr()  # results are allocated aligned
    unit = (t.dim() - 1,) if free and t.dim() and t.stride(-1) == 1 else ()
    # The innermost stride is no argument of a kernel, or is compiled in; a dim of size 1 is never stepped.
    rest = range(t.dim() - (1 if unit or not free else 0))
    steps = [t.stride(d) for d in rest if t.shape[d] > 1]
    lengths = name not in ROWS and not free  # strides that are lengths are never compiled in
    return Kind(
        pointer=POINTERS[t.dtype],
        item_bytes=size,
        aligned=at % VECTOR_BYTES == 0,
        strides_aligned=not lengths and all(s * size % VECTOR_BYTES == 0 for s in steps),
        unit=unit,
        described=name in ROWS and at % VECTOR_BYTES == 0 and describable(t),
    )


def _workspace(space: Workspace, elem: torch.dtype) -> Kind:
    t = element(space, elem)
    return Kind(POINTERS[t], t.itemsize, aligned=True, strides_aligned=False)


def element(space: Workspace, elem: torch.dtype) -> torch.dtype:
    """A workspace's dtype: ``elem`` is that of q, everything else an accumulator's (kernels: fp32)."""
    return elem if space.dtype == "elem" else torch.float32
