"""Shared by the tests that need a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case
from flashgen.verify.run import Tile, generated

CAUSAL = AttentionSpec(name="causal_like", head_dim=64, mask="causal")
LOCAL = AttentionSpec(name="local_like", head_dim=64, score="softcap(s, 20.0)", mask="window(100, 0)")


def poison(*shapes: tuple[int, ...], dtype: torch.dtype) -> None:
    """Leaves NaN in the allocator's free blocks, so that an element no kernel wrote shows."""
    held = [torch.full(shape, torch.nan, dtype=dtype, device="cuda") for shape in shapes for _ in range(3)]
    del held


def run_on_poison(
    spec: AttentionSpec, case: Case, tile: Tile, num_warps: int = 4, num_stages: int = 2, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The generated kernel with a tile of one's own, on output memory full of NaN."""
    q, k, v, inputs = case.tensors(spec, "cuda")
    torch.cuda.empty_cache()
    poison((*q.shape[:3], spec.d_v), dtype=q.dtype)
    poison(tuple(q.shape[:3]), dtype=torch.float32)
    run = generated(tile, False, num_warps, num_stages, seed)
    return run(spec, q, k, v, inputs)


def far_apart(x: Tensor, gap: int, dim: int) -> Tensor:
    """``x`` with ``gap`` elements between neighbours along ``dim``, in memory that is otherwise NaN."""
    stride = list(x.contiguous().stride())
    stride[dim] = gap
    last = sum((n - 1) * s for n, s in zip(x.shape, stride, strict=True))
    buffer = torch.empty(last + 1, dtype=x.dtype, device="cuda")
    view = buffer.as_strided(x.shape, stride)
    view.copy_(x)
    return view
