"""A kernel of the kind that flashgen writes, written by hand: what it does wrong is not flashgen's doing.

Imports Triton; for a process that was started with ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def kernel(x: Any, y: Any, out: Any, stride: Any, rows: Any, N: tl.constexpr) -> None:
    """``out`` = softmax of (x y^T) by rows, times y, of ``rows`` rows of N numbers: tiles of N rows of y in
    a loop whose length is not known before it runs, masks, dots, maxima and sums."""
    at = tl.program_id(0) * N + tl.arange(0, N)
    across = tl.arange(0, N)
    mine = tl.load(x + at[:, None] * stride + across[None, :], mask=at[:, None] < rows, other=0.0)
    m = tl.full((N,), float("-inf"), tl.float32)
    l = tl.zeros((N,), tl.float32)  # noqa: E741
    acc = tl.zeros((N, N), tl.float32)
    for tile in range((rows + N - 1) // N):
        there = tile * N + tl.arange(0, N)
        theirs = tl.load(y + there[:, None] * stride + across[None, :], mask=there[:, None] < rows, other=0.0)
        s = tl.where(there[None, :] < rows, tl.dot(mine, tl.trans(theirs)), float("-inf"))
        high = tl.maximum(m, tl.max(s, 1))
        p = tl.exp2((s - high[:, None]) * 1.4426950408889634)
        faded = tl.exp2((m - high) * 1.4426950408889634)
        l = l * faded + tl.sum(p, 1)  # noqa: E741
        acc = acc * faded[:, None] + tl.dot(p, theirs)
        m = high
    tl.store(out + at[:, None] * stride + across[None, :], acc / l[:, None], mask=at[:, None] < rows)


def wrong() -> str:
    """What is wrong with the sample's result, in a word or two; nothing where it is right. Raises what Triton
    raises."""
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(20, 16, generator=g) for _ in range(2))
    out: Tensor = torch.empty_like(x)
    kernel[(2,)](x, y, out, 16, 20, N=16)
    return "" if torch.allclose(out, (x @ y.T).softmax(1) @ y, atol=1e-5) else "its numbers are wrong"
