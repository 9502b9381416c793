"""Shapes, strides and dtypes of the results, which fake and real kernels share.

``out`` keeps the order of q's dims in memory, as SDPA does: for a q that is a transposed view of
(batch, seqlen, heads, head_dim), ``out`` is one too. So do ``dq``, ``dk`` and ``dv`` those of q, k and v.
``lse`` and the gradients of inputs are contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .signature import Signature, makes_gradients, through_lse
from .sizes import at_least, is_number, max_one

#: Shape, strides and dtype of a tensor that a call allocates.
Made: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


def dim_order(stride: Sequence[int]) -> tuple[int, int, int]:
    """The first three dims of q, outermost in memory first.

    A dim of stride 0 has no place in memory and keeps the one it has in the shape. Sizes are not looked at:
    where a dim of size 1 stands decides nothing but its own stride, and a size may depend on data.
    """
    order = [0, 1, 2]
    for i in (1, 2):
        at = i
        for j in range(i - 1, -1, -1):
            a, b = order[j], order[at]
            if is_number(stride[a], 0) or is_number(stride[b], 0):
                continue
            if at_least(stride[a], stride[b]):
                break
            order[j], order[at] = b, a
            at = j
    return order[0], order[1], order[2]


def out_strides(q_shape: Sequence[int], q_stride: Sequence[int], d_v: int) -> tuple[int, int, int, int]:
    """Strides of the dense ``out`` (batch, heads, seqlen_q, d_v) for a q of these strides."""
    strides, step = [0, 0, 0, 1], d_v
    for d in reversed(dim_order(q_stride)):
        strides[d] = step
        step = step * max_one(q_shape[d])
    return strides[0], strides[1], strides[2], 1


def lse_strides(q_shape: Sequence[int]) -> tuple[int, int, int]:
    """Strides of the contiguous ``lse`` (batch, heads, seqlen_q)."""
    rows = max_one(q_shape[2])
    return max_one(q_shape[1]) * rows, rows, 1


def forward_results(sig: Signature, tensors: Mapping[str, Tensor]) -> dict[str, Made]:
    """``o``, ``lse`` and, where it has one, its low part: fp32, fp64 for fp64 tensors."""
    q = tensors["q"]
    lse = torch.float64 if q.dtype == torch.float64 else torch.float32
    return {
        sig.ours("o"): ((*q.shape[:3], sig.d_v), out_strides(q.shape, q.stride(), sig.d_v), q.dtype),
        **{sig.ours(name): (tuple(q.shape[:3]), lse_strides(q.shape), lse) for name in sig.lse_parts},
    }


def backward_results(sig: Signature, tensors: Mapping[str, Tensor]) -> dict[str, Made]:
    """``dq``, ``dk``, ``dv`` and the gradients of learned inputs, in the accumulator's dtype."""
    made: dict[str, Made] = {}
    for name in ("q", "k", "v"):
        t = tensors[name]
        made[sig.ours(f"d{name}")] = (tuple(t.shape), out_strides(t.shape, t.stride(), t.shape[3]), t.dtype)
    acc = torch.float64 if tensors["q"].dtype == torch.float64 else torch.float32
    for name in sig.learned:
        shape = tuple(tensors[name].shape)
        made[sig.gradient(name)] = (shape, contiguous_strides(shape), acc)
    return made


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step = step * max_one(n)
    return tuple(reversed(strides))


def results_of(sig: Signature, schedule: str, tensors: Mapping[str, Tensor]) -> dict[str, Made]:
    """What the programs of a schedule make."""
    return (backward_results if makes_gradients(schedule) else forward_results)(sig, tensors)


def nothing_to_do(sig: Signature, schedule: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether results are known without a kernel: no rows, or no keys and no sink that leaves a trace (in
    lse, and through it in the sink's own gradient)."""
    q, k = tensors["q"], tensors["k"]
    if 0 in q.shape or 0 in k.shape[:2]:
        return True
    return k.shape[2] == 0 and (not sig.sink or (makes_gradients(schedule) and not through_lse(schedule)))


def nothing(name: str) -> float:
    """The elements of a result where there is nothing to do: of what sees nothing."""
    return -torch.inf if name in ("lse", "(lse)") else 0.0
