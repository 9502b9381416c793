"""CUDA tensors: the generated kernels. Everything a call decides is decided once for each layout of its
tensors (checks, variant, grid, strides) and kept; later calls of that layout allocate and launch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flashgen.backends.triton.specialise import VECTOR_BYTES
from flashgen.errors import TensorError
from flashgen.interpret.sums import total
from flashgen.ir.workload import Workload

from .arguments import check_reach, values
from .check import check_call
from .descriptor import Descriptor, described
from .device import target_of
from .integers import check_values
from .layout import Made, nothing, nothing_to_do, results_of
from .record import Record, value
from .signature import signature
from .variants import Variant, Variants, element

#: Layouts kept for one program; past that the oldest is forgotten, and found again should it return.
LAYOUTS = 4096
#: Programs of a one-dimensional launch.
PROGRAMS = 2**31 - 1

#: A call of one layout: from the addresses of its tensors to the results.
Call: TypeAlias = Callable[[list[int]], list[Tensor]]


class CudaAttention:
    """One program of a spec on CUDA devices: from the tensors it is given (``Signature.given``) to its
    results."""

    def __init__(self, spec: str, schedule: str = "flash2") -> None:
        self.signature = signature(spec)
        self.schedule = schedule
        self._variants = Variants(spec, self.signature.names, schedule)
        self._calls: dict[object, Call] = {}
        self._lock = threading.RLock()
        names = self.signature.given(schedule)
        self._ints = [(i.name, names.index(i.name)) for i in self.signature.inputs if i.type == "int"]

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Raises ``TensorError`` for tensors that do not fit, ``PlanError`` where no kernel exists."""
        pointers, low = [], 0
        for t in tensors:
            pointer = t.data_ptr()
            pointers.append(pointer)
            low |= pointer
        misaligned = low % VECTOR_BYTES and tuple([p % VECTOR_BYTES for p in pointers])
        key = (tuple([(t.shape, t.stride(), t.dtype, t.device) for t in tensors]), misaligned)
        call = self._calls.get(key)
        if call is None:
            with self._lock:
                call = self._prepare(tensors)
                if len(self._calls) >= LAYOUTS:
                    del self._calls[next(iter(self._calls))]
                self._calls[key] = call
        for name, place in self._ints:
            check_values(name, tensors[place])
        return call(pointers)

    def warm(self, tensors: Mapping[str, Tensor], work: Workload, device: int) -> None:
        """Compile and load what a call of such tensors (given ones and results, by name) would run."""
        with self._lock, torch.cuda.device(device):
            self._variants.get(tensors, work, target_of(device), device)

    def _prepare(self, tensors: Sequence[Tensor]) -> Call:
        given = check_call(self.signature, self.schedule, tensors)
        q, k = given["q"], given["k"]
        results = results_of(self.signature, self.schedule, given)
        if nothing_to_do(self.signature, self.schedule, given):
            return _known(results, q.device)
        work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        index = q.device.index
        everything = {**given, **{name: _meta(made) for name, made in results.items()}}
        with torch.cuda.device(index):
            variant = self._variants.get(everything, work, target_of(index), index)
        for kernel in variant[0].kernels:
            check_reach(kernel.args, given)
        return _launches(variant, everything, results, work, q.device)


def _known(results: dict[str, Made], device: torch.device) -> Call:
    """The results where there is nothing to do."""

    def call(_: list[int]) -> list[Tensor]:
        return [
            torch.empty_strided(shape, stride, dtype=dtype, device=device).fill_(nothing(name))
            for name, (shape, stride, dtype) in results.items()
        ]

    return call


@dataclass(frozen=True)
class Step:
    """One kernel's launch: where pointers and descriptors go into its arguments."""

    run: Callable[[int, int, list[Any]], None]
    programs: int
    arguments: list[Any]
    pointers: list[tuple[int, int]]  # argument, tensor
    descriptors: list[tuple[int, int, list[int], list[int]]]  # argument, tensor, shape, strides

    def __call__(self, addresses: Sequence[int], stream: int) -> None:
        """Launch on ``stream`` with tensors at ``addresses``."""
        filled = self.arguments.copy()
        for at, tensor in self.pointers:
            filled[at] = addresses[tensor]
        for at, tensor, shape, stride in self.descriptors:
            filled[at] = Descriptor(addresses[tensor], shape, stride)
        self.run(self.programs, stream, filled)


def steps(variant: Variant, tensors: Mapping[str, Tensor], work: Workload) -> list[Step]:
    """The launches of ``variant`` at ``work``. ``tensors``: all it reads and writes by name, given ones,
    results and workspaces; addresses come in this order. Raises ``TensorError`` for too large a grid."""
    record, compiled = variant
    lengths = work.names()
    strides = {name: t.stride() for name, t in tensors.items()}
    place = {name: i for i, name in enumerate(tensors)}
    made = []
    for n, (kernel, ready) in enumerate(zip(record.kernels, compiled, strict=True)):
        programs = kernel.programs(lengths)
        if programs > PROGRAMS:
            raise TensorError(
                f"q has shape {list(tensors['q'].shape)}: {programs} programs, above {PROGRAMS}"
            )
        arguments = values(kernel.args, strides, work, record.plan, n)
        holes = [(i, place[a.tensor]) for i, a in enumerate(kernel.args) if a.kind == "ptr" and a.tensor]
        maps = [
            (i, place[a.tensor], *described(tensors[a.tensor]))
            for i, a in enumerate(kernel.args)
            if a.kind == "descriptor" and a.tensor
        ]
        made.append(Step(ready.launch, programs, arguments, holes, maps))
    return made


def workspaces(record: Record, work: Workload, elem: torch.dtype, device: str) -> dict[str, Tensor]:
    """What the kernels pass on between them, by name; ``elem`` is the dtype of q."""
    lengths = work.names()
    return {
        w.name: torch.empty([value(d, lengths) for d in w.dims], dtype=element(w, elem), device=device)
        for w in record.workspaces
    }


def _launches(
    variant: Variant,
    tensors: dict[str, Tensor],
    results: dict[str, Made],
    work: Workload,
    device: torch.device,
) -> Call:
    """The call that allocates, launches the kernels of ``variant`` in order, and sums what they leave."""
    record, _ = variant
    spaces = workspaces(record, work, tensors["q"].dtype, "meta")
    own_names = [*results, *spaces]
    made = [*results.values(), *map(_made, spaces.values())]
    launches = steps(variant, {**tensors, **spaces}, work)
    lengths = work.names()

    sums, count = record.sums, len(results)
    zeroed = [own_names.index(name) for name in dict.fromkeys(s.dst for s in sums)]
    empty, index = torch.empty_strided, device.index
    current_device, current_stream = torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream

    def call(pointers: list[int]) -> list[Tensor]:
        own = [empty(shape, stride, dtype=dtype, device=device) for shape, stride, dtype in made]
        pointers += [t.data_ptr() for t in own]
        stream = current_stream(index)
        for launch in launches:
            launch(pointers, stream)
        if sums:
            for i in zeroed:
                own[i].zero_()
            memory = dict(zip(own_names, own, strict=True))
            for s in sums:
                total(s, memory, lengths)
        return own[:count]

    def guarded(pointers: list[int]) -> list[Tensor]:
        if current_device() == index:
            return call(pointers)
        with torch.cuda.device(index):
            return call(pointers)

    return guarded


def _meta(made: Made) -> Tensor:
    return torch.empty_strided(made[0], made[1], dtype=made[2], device="meta")


def _made(t: Tensor) -> Made:
    return tuple(t.shape), t.stride(), t.dtype
