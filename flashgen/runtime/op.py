"""``flashgen::attention``, the one op of every spec: torch's view of a kernel.

``spec`` is the spec's canonical JSON, so that a graph holding the op says all that it computes and runs in
another process. CPU tensors run the ``Program`` in the interpreter, CUDA tensors the generated kernel, fake
tensors only the checks. Registered at the dispatcher's lowest level, as each layer above costs microseconds
a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .check import check, check_grad, check_transforms, dense, differentiated
from .layout import lse_strides, out_strides
from .signature import signature

if TYPE_CHECKING:
    from .cpu import CpuAttention
    from .cuda import CudaAttention

SCHEMA = "attention(Tensor q, Tensor k, Tensor v, Tensor[] inputs, str spec) -> (Tensor out, Tensor lse)"

_library: Any = torch.library.Library("flashgen", "DEF")  # type: ignore[no-untyped-call]
_library.define(SCHEMA, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides))

_cuda: dict[str, CudaAttention] = {}
_cpu: dict[str, CpuAttention] = {}


def _on_cuda(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str) -> tuple[Tensor, Tensor]:
    if differentiated():
        check_transforms(_names(spec), (q, k, v, *inputs))
    state = _cuda.get(spec)
    if state is None:
        from .cuda import CudaAttention

        state = _cuda.setdefault(spec, CudaAttention(spec))
    return state(q, k, v, inputs)


def _on_cpu(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str) -> tuple[Tensor, Tensor]:
    if differentiated():
        check_transforms(_names(spec), (q, k, v, *inputs))
    state = _cpu.get(spec)
    if state is None:
        from .cpu import CpuAttention

        state = _cpu.setdefault(spec, CpuAttention(spec))
    return state(q, k, v, inputs)


def _names(spec: str) -> tuple[str, ...]:
    return ("q", "k", "v", *signature(spec).names)


def _refused(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str) -> tuple[Tensor, Tensor]:
    dense(_names(spec), (q, k, v, *inputs))
    raise AssertionError("a tensor of no dense kind is dense")


def _fake(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str) -> tuple[Tensor, Tensor]:
    sig = signature(spec)
    check(sig, q, k, v, inputs)
    check_grad(_names(spec), (q, k, v, *inputs))
    return empty_results(q, sig.d_v)


def empty_results(q: Tensor, d_v: int) -> tuple[Tensor, Tensor]:
    """Uninitialised ``out`` and ``lse`` for ``q``, laid out as the op lays them out."""
    b, h, n, _ = q.shape
    out = torch.empty_strided(
        (b, h, n, d_v), out_strides(q.shape, q.stride(), d_v), dtype=q.dtype, device=q.device
    )
    lse = torch.empty_strided((b, h, n), lse_strides(q.shape), dtype=torch.float32, device=q.device)
    return out, lse


_library.impl("attention", _on_cuda, "CUDA")
_library.impl("attention", _on_cpu, "CPU")
for _kind in ("Sparse", "SparseCsr", "Quantized", "NestedTensor"):
    for _device in ("CPU", "CUDA"):
        _library.impl("attention", _refused, f"{_kind}{_device}")
for _key in ("MkldnnCPU", "AutogradNestedTensor"):
    _library.impl("attention", _refused, _key)
torch.library.register_fake("flashgen::attention", _fake, lib=_library)

#: The op itself, past the packet's choice of overload.
attention = torch.ops.flashgen.attention.default
