"""``flashgen::attention`` and its backward, the ops of every spec: torch's view of the kernels.

``spec`` is the spec's canonical JSON, so that a graph holding an op says all that it computes and runs in
another process. CPU tensors run the ``Program`` in the interpreter, CUDA tensors the generated kernels, fake
tensors only the checks. Registered at the dispatcher's lowest level, as each layer above costs microseconds
a call; ``autograd`` connects the two ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from .check import check_call, dense
from .layout import backward_results, forward_results
from .signature import backward_schedule, signature

if TYPE_CHECKING:
    from .cpu import CpuAttention
    from .cuda import CudaAttention

FORWARD = (
    "attention(Tensor q, Tensor k, Tensor v, Tensor[] inputs, str spec, Tensor? seed) "
    "-> (Tensor out, Tensor lse, Tensor[] rest)"
)
BACKWARD = (
    "attention_backward(Tensor dout, Tensor? dlse, Tensor q, Tensor k, Tensor v, Tensor[] inputs, "
    "Tensor out, Tensor lse, Tensor[] rest, str spec, Tensor? seed) "
    "-> (Tensor dq, Tensor dk, Tensor dv, Tensor[] dinputs)"
)
#: ``out``, ``lse`` and what a backward needs beside: of a spec whose score may be large, the low part of
#: ``lse``. No gradient arrives there. ``lse`` has no elements where a row function leaves nothing of a row.
Results: TypeAlias = tuple[Tensor, Tensor, list[Tensor]]
#: dq, dk, dv and the gradients of learned inputs.
Gradients: TypeAlias = tuple[Tensor, Tensor, Tensor, list[Tensor]]

library: Any = torch.library.Library("flashgen", "DEF")  # type: ignore[no-untyped-call]
for _schema in (FORWARD, BACKWARD):
    library.define(_schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides))

_programs: dict[tuple[str, str, bool], CudaAttention | CpuAttention] = {}


def _forward(
    q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str, seed: Tensor | None
) -> Results:
    return _results(program(spec, "flash2", q.is_cuda)(q, k, v, *inputs, *_given(seed)))


def _results(made: Sequence[Tensor]) -> Results:
    out, *left = made
    lse, *rest = left or [out.new_empty(0, dtype=torch.promote_types(out.dtype, torch.float32))]
    return out, lse, rest


def program(spec: str, schedule: str, on_cuda: bool) -> CudaAttention | CpuAttention:
    """The one program of a spec by a schedule that this process has on CUDA devices, or on the CPU."""
    key = spec, schedule, on_cuda
    found = _programs.get(key)
    if found is not None:
        return found
    if on_cuda:
        from .cuda import CudaAttention as Attention
    else:
        from .cpu import CpuAttention as Attention  # type: ignore[assignment]
    return _programs.setdefault(key, Attention(spec, schedule))


def _given(*optional: Tensor | None) -> list[Tensor]:
    return [t for t in optional if t is not None]


def _backward(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: list[Tensor],
    out: Tensor,
    lse: Tensor,
    rest: list[Tensor],
    spec: str,
    seed: Tensor | None,
) -> Gradients:
    made = program(spec, backward_schedule(dlse is not None), q.is_cuda)
    rows = dout if dout.stride(-1) == 1 and dout.dtype == q.dtype else dout.to(q.dtype).contiguous()
    per_row = [t.contiguous().to(lse.dtype) for t in _given(dlse)]
    rows_of_out = out if out.stride(-1) == 1 else out.contiguous()
    saved = _saved(spec, rows_of_out, *(t.contiguous() for t in (lse, *rest)))
    dq, dk, dv, *learned = made(rows, *per_row, q, k, v, *inputs, *saved, *_given(seed))
    return dq, dk, dv, _as_given(learned, spec, inputs)


def _saved(spec: str, *results: Tensor) -> tuple[Tensor, ...]:
    """Of a forward's results what a backward takes."""
    return results if signature(spec).saved else ()


def _as_given(found: list[Tensor], spec: str, inputs: list[Tensor]) -> list[Tensor]:
    """The gradients of learned inputs, each in its input's dtype."""
    learned = [t for i, t in zip(signature(spec).inputs, inputs, strict=True) if i.grad]
    return [g.to(t.dtype) for g, t in zip(found, learned, strict=True)]


def _names(spec: str) -> tuple[str, ...]:
    return ("q", "k", "v", *signature(spec).names)


def _refused(
    q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str, seed: Tensor | None
) -> Results:
    dense(_names(spec), (q, k, v, *inputs))
    raise AssertionError("a tensor of no dense kind is dense")


def _fake(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str, seed: Tensor | None) -> Results:
    sig = signature(spec)
    made = forward_results(sig, check_call(sig, "flash2", (q, k, v, *inputs, *_given(seed))))
    return _results([torch.empty_strided(*m[:2], dtype=m[2], device=q.device) for m in made.values()])


def _fake_backward(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: list[Tensor],
    out: Tensor,
    lse: Tensor,
    rest: list[Tensor],
    spec: str,
    seed: Tensor | None,
) -> Gradients:
    sig = signature(spec)
    schedule = backward_schedule(dlse is not None)
    per_row, matrices = [t.to(lse.dtype) for t in _given(dlse)], (q, k, v, *inputs)
    saved = _saved(spec, out, lse, *rest)
    given = check_call(sig, schedule, (dout.to(q.dtype), *per_row, *matrices, *saved, *_given(seed)))
    made = backward_results(sig, given).values()
    dq, dk, dv, *learned = (torch.empty_strided(*m[:2], dtype=m[2], device=q.device) for m in made)
    return dq, dk, dv, _as_given(learned, spec, inputs)


for _device in ("CPU", "CUDA"):
    library.impl("attention", _forward, _device)
    library.impl("attention_backward", _backward, _device)
    for _kind in ("Sparse", "SparseCsr", "Quantized", "NestedTensor"):
        library.impl("attention", _refused, f"{_kind}{_device}")
for _key in ("MkldnnCPU", "AutogradNestedTensor"):
    library.impl("attention", _refused, _key)
torch.library.register_fake("flashgen::attention", _fake, lib=library)
torch.library.register_fake("flashgen::attention_backward", _fake_backward, lib=library)

#: The ops themselves, past the packets' choice of overload.
attention: Any = torch.ops.flashgen.attention.default
attention_backward: Any = torch.ops.flashgen.attention_backward.default

from . import autocast, autograd  # noqa: E402, F401  (register more of the ops above)
