"""Which compiled kernels a call runs: of a few that the compiler accepted, the fastest at the call's sizes.

A candidate that takes more shared memory than the target has, spills too much or is compiled wrongly gives
way to the next. A plan found by measuring runs as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan
from flashgen.plan.specialise import ROWS, VECTOR_BYTES, Kind

from .arguments import POINTERS
from .cache import entry
from .check import DTYPES
from .descriptor import describable
from .device import Known
from .launch import Compiled, build, current_gpu, loaded
from .record import Record, Workspace
from .settle import Settling
from .source import choices, confirmed_us, generated, measured, picked, plans, steering, unsound

#: Tensors that loops read and that descriptors can. (``flash2`` reads q before its loop.)
STREAMED = ("q", "k", "v", "o", "do")
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
            described = describable_loads(self.schedule, kinds)
            found = plans(self.spec, target.name, DTYPES[elem], described, self.schedule)
            ask = Asked(elem, kinds, target, described)
            self._sets[key] = self._distinct(v for p in found for v in self._searched(p, ask))
            if self.tuned:
                known = measured(self.spec, self.schedule, DTYPES[elem], target.name, described)
                self._sets[key] += [v for p in known if (v := self._as_it_is(p, ask))]
        variants = self._sets[key]
        compiled = tuple(tuple(c.measured for c in kernels) for _, kernels in variants)
        return variants[picked(self.spec, tuple(r.plan for r, _ in variants), work, compiled)]

    def _distinct(self, found: Iterable[tuple[Plan, tuple[Compiled, ...]]]) -> list[Variant]:
        kept: dict[object, tuple[Plan, tuple[Compiled, ...]]] = {}
        for plan, compiled in found:
            kept.setdefault(plan.kernels, (plan, compiled))
        return [(generated(self.spec, plan), compiled) for plan, compiled in kept.values()]

    def _searched(self, plan: Plan, ask: Asked) -> Iterator[tuple[Plan, tuple[Compiled, ...]]]:
        """What came of ``plan`` by the compiler; then that with another kernel that it accepted, each: at
        other sizes one of those may be the fastest."""
        accepted = []
        for number in range(len(plan.kernels)):
            accepted.append(self._accepted(plan, number, ask))
            plan = accepted[-1][0][0]
        best = tuple(some[0][1] for some in accepted)
        yield plan, best
        for number, some in enumerate(accepted):
            for other, kernel in some[1:]:
                yield plan.with_kernel(number, other), (*best[:number], kernel, *best[number + 1 :])

    def _as_it_is(self, plan: Plan, ask: Asked) -> Variant | None:
        """A plan found by measuring; None where it does not compile here."""
        compiled = [self._compiled([plan], number, ask)[0] for number in range(len(plan.kernels))]
        fine = tuple(c for c in compiled if not isinstance(c, str))
        return (generated(self.spec, plan), fine) if len(fine) == len(compiled) else None

    def _accepted(self, plan: Plan, number: int, ask: Asked) -> list[tuple[Plan, Compiled]]:
        """``plan`` with its kernel of this number as ``settle`` finds it, compiled: the best first. What is
        settled is kept in the cache, so that a later process searches nothing."""
        fresh: list[list[tuple[Plan, Compiled]]] = []

        def search() -> dict[str, str]:
            fresh.append(self._settled(plan, number, ask))
            return {"plans.json": json.dumps([p.to_json() for p, _ in fresh[0]])}

        asked = {"what": "accepted", "spec": self.spec, "plan": plan.to_json(), "kernel": number}
        asked |= {"smem": ask.target.smem_bytes, "described": ask.described}
        asked |= {"kinds": [[name, asdict(k)] for name, k in ask.kinds.items()]}
        _, files = entry(asked, search)
        if not fresh:
            settled = [Plan.from_json(text) for text in json.loads(files["plans.json"])]
            found = zip(settled, self._compiled(settled, number, ask), strict=True)
            fine = [(p, c) for p, c in found if not isinstance(c, str)]
            if fine:
                return fine
            search()  # what another compiler settled does not run here
        return fresh[0]

    def _settled(self, plan: Plan, number: int, ask: Asked) -> list[tuple[Plan, Compiled]]:
        search = Settling(
            number,
            lambda plans: self._compiled(plans, number, ask),
            lambda p, compiled: confirmed_us(self.spec, p, number, compiled),
            steering(self.spec, plan, number),
        )
        try:
            return search.settled(list(choices(self.spec, plan, number, ask.described)))
        except PlanError as e:
            raise PlanError(
                f"no candidate for {DTYPES[ask.elem]} on {ask.target.name} compiles within its limits:\n  {e}"
            ) from None

    def _compiled(self, plans: Sequence[Plan], number: int, ask: Asked) -> list[Compiled | str]:
        """The kernel of this number of each plan, or why it cannot run: compiled side by side (most of a
        compile holds no lock of Python's), loaded one after the other onto the current device."""
        records = [generated(self.spec, plan) for plan in plans]

        def built(record: Record) -> Any:
            known = {**ask.kinds, **{w.name: _workspace(w, ask.elem) for w in record.workspaces}}
            return build(record, record.kernels[number], known, gpu)

        def looked_at(plan: Plan, found: Compiled | str) -> Compiled | str:
            if isinstance(found, str):
                return found
            return unsound(plan.target, found.code) or found

        gpu = current_gpu()  # of this thread
        with ThreadPoolExecutor(min(len(plans), os.cpu_count() or 1)) as pool:
            here = [_loaded(b, ask) for b in pool.map(built, records)]
            return list(pool.map(looked_at, plans, here))


def _loaded(built: Any, ask: Asked) -> Compiled | str:
    from triton.runtime.errors import OutOfResources

    smem = built.metadata.shared
    if smem > ask.target.smem_bytes:
        return f"takes {smem} B of shared memory, above {ask.target.smem_bytes}"
    try:
        return loaded(built)
    except OutOfResources as e:
        return str(e)


def describable_loads(schedule: str, kinds: Mapping[str, Kind]) -> bool:
    """Whether tensor descriptors can read all that the loops of a program read."""
    streamed = ("k", "v") if schedule == "flash2" else STREAMED
    return all(kinds[n].described for n in streamed if n in kinds)


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
        described=name in STREAMED and at % VECTOR_BYTES == 0 and describable(t),
    )


def _workspace(space: Workspace, elem: torch.dtype) -> Kind:
    t = element(space, elem)
    return Kind(POINTERS[t], t.itemsize, aligned=True, strides_aligned=False)


def element(space: Workspace, elem: torch.dtype) -> torch.dtype:
    """A workspace's dtype: ``elem`` is that of q, everything else an accumulator's (kernels: fp32)."""
    return elem if space.dtype == "elem" else torch.float32
