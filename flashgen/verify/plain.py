"""The same computation in plain PyTorch at the tensors' own precision: what a kernel's errors are
measured against. Standard attention, one matmul after the other, with S and P in memory:

    S = Q K^T (products in the dtype, sums in fp32)     softmax in fp32     O = P (in the dtype) V

"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .oracle import Pairs, scale_of, softmax, weigh


def plain(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    round_scores: bool = False,
) -> tuple[Tensor, Tensor]:
    """``out`` (B, Hq, Nq, Dv) in q's dtype and ``lse`` (B, Hq, Nq) in fp32.

    ``round_scores`` stores S in the tensors' dtype, as ``q @ k.mT`` on half tensors does: more error,
    and infinities past 65504 in fp16. Bounds are taken without it, which is the stricter comparison.
    """
    dtype = q.dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    group = max(q.shape[1] // max(k.shape[1], 1), 1)
    k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
    with _precision(spec.tf32):
        s = q.to(wide) @ k.to(wide).mT
        if round_scores:
            s = s.to(dtype).to(wide)
        pairs = Pairs(s * scale_of(spec), group, inputs or {}, wide)
        score, visible = pairs.score(spec.score_expr), pairs.mask(spec.mask_expr)
        p, lse = softmax(score, visible)
        v = torch.where(visible.any(dim=2)[..., None], v, 0)
        out = weigh(p.to(dtype).to(wide), v.to(wide), visible)
    return out.to(dtype), lse.to(torch.float32)


class _precision:
    """fp32 matmuls on CUDA in tf32 or in IEEE fp32, whatever the process had chosen."""

    def __init__(self, tf32: bool) -> None:
        self.tf32 = tf32

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before)
