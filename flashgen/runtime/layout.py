"""Strides of the results, which fake and real kernels share.

``out`` keeps the order of q's dims in memory, as SDPA does: for a q that is a transposed view of
(batch, seqlen, heads, head_dim), ``out`` is one too. ``lse`` is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence


def dim_order(shape: Sequence[int], stride: Sequence[int]) -> tuple[int, int, int]:
    """The first three dims of q, outermost in memory first.

    A dim of size 1 or stride 0 has no place in memory and keeps the one it has in the shape.
    """
    order = [0, 1, 2]
    for i in (1, 2):
        at = i
        for j in range(i - 1, -1, -1):
            a, b = order[j], order[at]
            if shape[a] == 1 or shape[b] == 1 or stride[a] == 0 or stride[b] == 0:
                continue
            if stride[a] >= stride[b]:
                break
            order[j], order[at] = b, a
            at = j
    return order[0], order[1], order[2]


def out_strides(q_shape: Sequence[int], q_stride: Sequence[int], d_v: int) -> tuple[int, int, int, int]:
    """Strides of the dense ``out`` (batch, heads, seqlen_q, d_v) for a q of these strides."""
    strides, step = [0, 0, 0, 1], d_v
    for d in reversed(dim_order(q_shape, q_stride)):
        strides[d] = step
        step = step * max_one(q_shape[d])
    return strides[0], strides[1], strides[2], 1


def lse_strides(q_shape: Sequence[int]) -> tuple[int, int, int]:
    """Strides of the contiguous ``lse`` (batch, heads, seqlen_q)."""
    rows = max_one(q_shape[2])
    return max_one(q_shape[1]) * rows, rows, 1


def max_one(n: int) -> int:
    """At least 1: torch's strides of an empty tensor count an empty dim as one."""
    return 1 if n == 0 else n
