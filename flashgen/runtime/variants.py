"""Which compiled kernels a call runs: the planner's best candidate by what the compiler makes of it here.

A candidate that takes more shared memory than the target has, or spills too much, gives way to the next; so
does one whose registers leave it slower than the next is predicted to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

import torch
from torch import Tensor

from flashgen.errors import PlanError
from flashgen.plan.plan import Plan, Workload

from .arguments import POINTERS
from .cache import entry
from .check import DTYPES
from .descriptor import describable
from .device import Known
from .launch import VECTOR_BYTES, Compiled, Kind, build, loaded
from .record import Record, Workspace
from .source import SPILL_LIMIT_BYTES, choices, confirmed_us, generated, measured, picked, plans

#: How many plans are compiled in place of one that the compiler refuses, and how many that it accepts.
TRIES = 8
CONFIRMED = 3
#: What follows a plan that spilled holds at most this share of its registers a thread.
EASED = 0.9
#: A spill of so many times the limit comes from what iterations that overlap hold of each other.
FAR = 2
#: Tensors of rows of a head dim, and those that the loops of a backward program read (a forward one reads q
#: before its loops).
ROWS = ("q", "k", "v", "o", "do", "dq", "dk", "dv")
STREAMED = ("q", "k", "v", "do")
#: A generated module with its kernels, compiled and loaded.
Variant: TypeAlias = tuple[Record, tuple[Compiled, ...]]


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
            streamed = ("k", "v") if self.schedule == "flash2" else STREAMED
            described = all(kinds[n].described for n in streamed)
            found = plans(self.spec, target.name, DTYPES[elem], described, self.schedule)
            if self.tuned:
                found += measured(self.spec, self.schedule, DTYPES[elem], target.name, described)
            self._sets[key] = [self._first_that_fits(p, elem, kinds, target, described) for p in found]
        variants = self._sets[key]
        compiled = tuple(tuple(c.measured for c in kernels) for _, kernels in variants)
        return variants[picked(self.spec, tuple(r.plan for r, _ in variants), work, compiled)]

    def _first_that_fits(
        self, plan: Plan, elem: torch.dtype, kinds: Mapping[str, Kind], target: Known, described: bool
    ) -> Variant:
        """``plan``, or what came of it, each kernel of which the compiler accepts."""
        compiled = []
        for number in range(len(plan.kernels)):
            plan, kernel = self._accepted(plan, number, elem, kinds, target, described)
            compiled.append(kernel)
        return generated(self.spec, plan), tuple(compiled)

    def _accepted(
        self,
        plan: Plan,
        number: int,
        elem: torch.dtype,
        kinds: Mapping[str, Kind],
        target: Known,
        described: bool,
    ) -> tuple[Plan, Compiled]:
        """``plan`` with its kernel of this number as the search settles it, compiled. What it settles is kept
        in the cache, so that a later process searches nothing."""

        fresh: list[tuple[Plan, Compiled]] = []

        def search() -> dict[str, str]:
            fresh.append(self._searched(plan, number, elem, kinds, target, described))
            return {"plan.json": fresh[0][0].to_json()}

        asked = {"what": "accepted", "spec": self.spec, "plan": plan.to_json(), "kernel": number}
        asked |= {"smem": target.smem_bytes, "described": described}
        asked |= {"kinds": [[name, asdict(k)] for name, k in kinds.items()]}
        _, files = entry(asked, search)
        if not fresh:
            settled = Plan.from_json(files["plan.json"])
            found = self._compiled(settled, number, elem, kinds, target)
            if not isinstance(found, str):
                return settled, found
            search()  # what another compiler settled does not run here
        return fresh[0]

    def _searched(
        self,
        plan: Plan,
        number: int,
        elem: torch.dtype,
        kinds: Mapping[str, Kind],
        target: Known,
        described: bool,
    ) -> tuple[Plan, Compiled]:
        """The plan whose kernel takes the least time by what the compiler made of it, ``plan`` tried first.

        The search ends where no candidate left promises less, or CONFIRMED were compiled. After one that
        spilled too much, those with as many warps and the same loads are compiled only if their tiles take
        clearly fewer registers; after one that spilled far more than tiles explain, only those that do not
        overlap iterations, as it is what they hold of the next ones. Where all spill, the least does.
        """
        reasons: list[str] = []
        best: tuple[float, Plan, Compiled] | None = None
        least: tuple[int, Plan, Compiled] | None = None
        spilled: dict[tuple[int, str, bool], float] = {}
        overlapped = True
        confirmed = 0
        for c in choices(self.spec, plan, number, described):
            if best is not None and (c.us >= best[0] or confirmed == CONFIRMED):
                break
            k = c.plan.kernels[number]
            kind_of = k.num_warps, k.loads, k.num_stages > 1
            if c.held > EASED * spilled.get(kind_of, math.inf) or (k.num_stages > 1 and not overlapped):
                continue
            found = self._compiled(c.plan, number, elem, kinds, target)
            if isinstance(found, str):
                reasons.append(f"{k}: {found}")
            elif (spill := found.measured.spill_bytes) <= SPILL_LIMIT_BYTES:
                us = confirmed_us(self.spec, c.plan, number, found.measured)
                if best is None or us < best[0]:
                    best = us, c.plan, found
                confirmed += 1
            else:
                if least is None or spill < least[0]:
                    least = spill, c.plan, found
                spilled[kind_of] = c.held
                overlapped = overlapped and spill <= FAR * SPILL_LIMIT_BYTES
                reasons.append(f"{k}: spills {spill} B a thread, above {SPILL_LIMIT_BYTES}")
            if len(reasons) == TRIES:
                break
        settled = best or least  # the latter slow, but right
        if settled is not None:
            return settled[1:]
        raise PlanError(
            f"no candidate for {DTYPES[elem]} on {target.name} compiles within its limits:\n  "
            + "\n  ".join(reasons)
        )

    def _compiled(
        self, plan: Plan, number: int, elem: torch.dtype, kinds: Mapping[str, Kind], target: Known
    ) -> Compiled | str:
        """The plan's kernel of this number compiled and loaded, or why it cannot run."""
        from triton.runtime.errors import OutOfResources

        record = generated(self.spec, plan)
        kernel = record.kernels[number]
        known = {**kinds, **{w.name: _workspace(w, elem) for w in record.workspaces}}
        built = build(record, kernel, known)
        smem = built.metadata.shared
        if smem > target.smem_bytes:
            return f"{kernel.name} takes {smem} B of shared memory, above {target.smem_bytes}"
        try:
            return loaded(built)
        except OutOfResources as e:
            return f"{kernel.name}: {e}"


def kind(name: str, t: Tensor, free: bool) -> Kind:
    """What kernels are specialised on for ``t``; ``free``: its innermost stride may be other than 1."""
    size = t.dtype.itemsize
    at = 0 if t.device.type == "meta" else t.data_ptr()  # results are allocated aligned
    unit = (t.dim() - 1,) if free and t.stride(-1) == 1 else ()
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
        described=name in STREAMED and at % VECTOR_BYTES == 0 and describable(t),
    )


def _workspace(space: Workspace, elem: torch.dtype) -> Kind:
    t = element(space, elem)
    return Kind(POINTERS[t], t.itemsize, aligned=True, strides_aligned=False)


def element(space: Workspace, elem: torch.dtype) -> torch.dtype:
    """A workspace's dtype: ``elem`` is that of q, everything else an accumulator's (kernels: fp32)."""
    return elem if space.dtype == "elem" else torch.float32
