"""The other form of the backward: one kernel over k tiles makes dK and dV and adds its share of dQ to HBM.

FlashAttention-2's backward (Algorithm 2) in five matmuls instead of the seven of two kernels, paid for by
N / BLOCK_N reduce-adds of every element of dQ and an order of addition that differs from run to run. It is
written by hand for plain attention, with every key or those up to the diagonal, and lengths that are
multiples of 128, and stands here to be timed: a schedule would be worth offering where it wins.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

#: The fastest of 41 tilings on H100 (BLOCK_M, BLOCK_N, warps, stages, q and dO by descriptors) by head dim.
TILINGS = {64: (64, 64, 4, 3, True), 128: (64, 128, 8, 3, False)}


@triton.jit  # type: ignore[untyped-decorator]
def _delta(o, do, lse, delta, lse2, N, D: tl.constexpr, BLOCK_M: tl.constexpr):  # type: ignore[no-untyped-def]
    """delta = rowsum(dO * O), and lse in base 2."""
    bh = tl.program_id(1)
    q = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    at = bh.to(tl.int64) * N * D + q[:, None] * D + tl.arange(0, D)[None, :]
    product = tl.load(o + at).to(tl.float32) * tl.load(do + at).to(tl.float32)
    tl.store(delta + bh * N + q, tl.sum(product, axis=1))
    tl.store(lse2 + bh * N + q, tl.load(lse + bh * N + q) * 1.4426950408889634)


@triton.jit  # type: ignore[untyped-decorator]
def _gradients(  # type: ignore[no-untyped-def]
    q_desc, do_desc, dq_desc, q_ptr, do_ptr, k_ptr, v_ptr, lse2_ptr, delta_ptr, dk_ptr, dv_ptr, N, scale,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BELOW_DIAGONAL: tl.constexpr,
    DESC: tl.constexpr,
):  # fmt: skip
    """dK and dV of one tile of keys, and what it adds to dQ."""
    n_k_tile = N // BLOCK_N
    bh = tl.program_id(0) // n_k_tile
    k_lo = tl.program_id(0) % n_k_tile * BLOCK_N
    q_range, k_range, d = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, D)
    head = bh.to(tl.int64) * N * D
    own = head + (k_lo + k_range)[:, None] * D + d[None, :]
    k, v = tl.load(k_ptr + own), tl.load(v_ptr + own)
    dk = tl.zeros((BLOCK_N, D), tl.float32)
    dv = tl.zeros((BLOCK_N, D), tl.float32)
    for j in range(k_lo // BLOCK_M if BELOW_DIAGONAL else 0, N // BLOCK_M):
        q_lo = j * BLOCK_M
        row = bh * N + q_lo
        at = head + (q_lo + q_range)[:, None] * D + d[None, :]
        q = q_desc.load([row, 0]) if DESC else tl.load(q_ptr + at)
        s = tl.dot(k, tl.trans(q))
        p = tl.exp2(s * (scale * 1.4426950408889634) - tl.load(lse2_ptr + row + q_range)[None, :])
        if BELOW_DIAGONAL:
            p = tl.where(k_lo + k_range[:, None] <= q_lo + q_range[None, :], p, 0.0)
        do = do_desc.load([row, 0]) if DESC else tl.load(do_ptr + at)
        dp = tl.dot(v, tl.trans(do))
        ds = (p * (dp - tl.load(delta_ptr + row + q_range)[None, :])).to(q.dtype)
        dv = tl.dot(p.to(q.dtype), do, dv)
        dk = tl.dot(ds, q, dk)
        dq_desc.atomic_add([row, 0], tl.dot(tl.trans(ds), k))
    tl.store(dk_ptr + own, (dk * scale).to(k.dtype))
    tl.store(dv_ptr + own, dv.to(k.dtype))


@triton.jit  # type: ignore[untyped-decorator]
def _rounded(total, dq, scale, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """dQ in the input precision."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dq + at, (tl.load(total + at) * scale).to(dq.dtype.element_ty))


def gradients(
    q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, do: Tensor, below_diagonal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """dQ, dK and dV; all contiguous, (B, H, N, D), and ``lse`` (B, H, N)."""
    B, H, N, D = q.shape
    tile_m, tile_n, warps, stages, described = TILINGS[D]
    delta, lse2 = torch.empty_like(lse), torch.empty_like(lse)
    total = torch.zeros(B * H * N, D, device=q.device)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))

    def rows(x: Tensor) -> Any:
        return TensorDescriptor.from_tensor(x.view(-1, D), [tile_m, D])

    _delta[N // 128, B * H](o, do, lse, delta, lse2, N, D, 128)
    _gradients[(B * H * (N // tile_n),)](
        rows(q), rows(do), rows(total), q, do, k, v, lse2, delta, dk, dv, N, D**-0.5,
        D, tile_m, tile_n, below_diagonal, described, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    _rounded[(total.numel() // 8192,)](total, dq, D**-0.5, 8192)
    return dq, dk, dv


class ReduceAdd(torch.autograd.Function):
    """An ``out`` that is given, differentiated by this backward."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, below_diagonal: bool
    ) -> Tensor:
        """``o``, whose gradient is asked for later."""
        ctx.save_for_backward(q, k, v, o, lse)
        ctx.below_diagonal = below_diagonal
        return o.clone()

    @staticmethod
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
        """dQ, dK and dV."""
        q, k, v, o, lse = ctx.saved_tensors
        return *gradients(q, k, v, o, lse, do.contiguous(), ctx.below_diagonal), None, None, None
