"""CUDA tensors: the generated kernels. Everything a call decides is decided once for each layout of its
tensors (checks, variant, grid, strides) and kept; later calls of that layout allocate and launch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flashgen.errors import TensorError
from flashgen.plan.plan import Workload

from .arguments import check_reach, values
from .check import check, check_grad
from .descriptor import Descriptor, described
from .device import target_of
from .launch import VECTOR_BYTES
from .layout import lse_strides, out_strides
from .record import value
from .signature import signature
from .variants import Variant, Variants, element

#: Layouts kept for one spec; past that the oldest is forgotten, and found again should it return.
LAYOUTS = 4096
#: Programs of a one-dimensional launch.
PROGRAMS = 2**31 - 1

#: Shape, strides and dtype of a tensor that a call allocates.
Made: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
#: A call of one layout: from the addresses of its tensors to ``out`` and ``lse``.
Call: TypeAlias = Callable[[list[int]], tuple[Tensor, Tensor]]


class CudaAttention:
    """One spec on CUDA devices: ``(q, k, v, inputs) -> (out, lse)``."""

    def __init__(self, spec: str) -> None:
        self.signature = signature(spec)
        self.names = ("q", "k", "v", *self.signature.names)
        self._variants = Variants(spec, self.signature.names)
        self._calls: dict[object, Call] = {}
        self._lock = threading.RLock()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Raises ``TensorError`` for tensors that do not fit, ``PlanError`` where no kernel exists."""
        tensors = (q, k, v, *inputs)
        pointers, low = [], 0
        for t in tensors:
            if t.requires_grad:
                check_grad(self.names, tensors)
            pointer = t.data_ptr()
            pointers.append(pointer)
            low |= pointer
        misaligned = low % VECTOR_BYTES and tuple([p % VECTOR_BYTES for p in pointers])
        key = (tuple([(t.shape, t.stride(), t.dtype, t.device) for t in tensors]), misaligned)
        call = self._calls.get(key)
        if call is None:
            with self._lock:
                call = self._prepare(q, k, v, inputs)
                if len(self._calls) >= LAYOUTS:
                    del self._calls[next(iter(self._calls))]
                self._calls[key] = call
        return call(pointers)

    def _prepare(self, q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor]) -> Call:
        check(self.signature, q, k, v, inputs)
        d_v = self.signature.d_v
        work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        out: Made = ((*q.shape[:3], d_v), out_strides(q.shape, q.stride(), d_v), q.dtype)
        lse: Made = (tuple(q.shape[:3]), lse_strides(q.shape), torch.float32)
        if work.Nk == 0 or 0 in out[0]:
            return _nothing_to_see(out, lse, q.device)
        index = q.device.index
        given = dict(zip(self.names, (q, k, v, *inputs), strict=True))
        tensors = {**given, "o": _meta(out), "lse": _meta(lse)}
        with torch.cuda.device(index):
            variant = self._variants.get(tensors, work, target_of(index), index)
        for kernel in variant[0].kernels:
            check_reach(kernel.args, given)
        return _launches(variant, tensors, (out, lse), work, q.device)


def _nothing_to_see(out: Made, lse: Made, device: torch.device) -> Call:
    """No keys, or no queries: every row's out is 0 and its lse -inf."""

    def call(_: list[int]) -> tuple[Tensor, Tensor]:
        o = torch.empty_strided(out[0], out[1], dtype=out[2], device=device).zero_()
        return o, torch.empty_strided(lse[0], lse[1], dtype=lse[2], device=device).fill_(-torch.inf)

    return call


def _launches(
    variant: Variant,
    tensors: dict[str, Tensor],
    results: tuple[Made, Made],
    work: Workload,
    device: torch.device,
) -> Call:
    """The call that allocates and launches the kernels of ``variant`` in order."""
    record, compiled = variant
    lengths, elem = work.names(), tensors["q"].dtype
    for w in record.workspaces:
        shape = [value(d, lengths) for d in w.dims]
        tensors[w.name] = torch.empty(shape, dtype=element(w, elem), device="meta")
    made = [*results, *(_made(tensors[w.name]) for w in record.workspaces)]
    strides = {name: t.stride() for name, t in tensors.items()}
    place = {name: i for i, name in enumerate(tensors)}
    launches = []
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
        launches.append((ready.launch, programs, arguments, holes, maps))

    empty, index = torch.empty_strided, device.index
    current_device, current_stream = torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream

    def call(pointers: list[int]) -> tuple[Tensor, Tensor]:
        own = [empty(shape, stride, dtype=dtype, device=device) for shape, stride, dtype in made]
        pointers += [t.data_ptr() for t in own]
        stream = current_stream(index)
        for launch, programs, arguments, holes, maps in launches:
            filled: list[Any] = arguments.copy()
            for at, tensor in holes:
                filled[at] = pointers[tensor]
            for at, tensor, shape, stride in maps:
                filled[at] = Descriptor(pointers[tensor], shape, stride)
            launch(programs, stream, filled)
        return own[0], own[1]

    def guarded(pointers: list[int]) -> tuple[Tensor, Tensor]:
        if current_device() == index:
            return call(pointers)
        with torch.cuda.device(index):
            return call(pointers)

    return guarded


def _meta(made: Made) -> Tensor:
    return torch.empty_strided(made[0], made[1], dtype=made[2], device="meta")


def _made(t: Tensor) -> Made:
    return tuple(t.shape), t.stride(), t.dtype
