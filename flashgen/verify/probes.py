"""Exact probes: with q = 0 and the score ``s``, what comes out is the mask itself, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .case import Case
from .run import Run


def mask_bits(run: Run, spec: AttentionSpec, case: Case, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """The pairs that ``run`` lets attend, (B, Hq, Nq, Nk) bool, and exp(lse), their number in each row.

    Unit vectors as values read d_v columns of P at a time. The spec's score must be 0 where s is.
    """
    writable = (*case.layouts[:2], "contiguous")
    q, k, v, inputs = replace(case, distribution="zero_q", layouts=writable).tensors(spec, device)
    n_k = k.shape[2]
    seen = torch.zeros(*q.shape[:3], n_k, dtype=torch.bool, device=device)
    count = torch.zeros(q.shape[:3], device=device)
    for lo in range(0, n_k, spec.d_v):
        hi = min(lo + spec.d_v, n_k)
        v.zero_()
        for column, key in enumerate(range(lo, hi)):
            v[:, :, key, column] = 1
        out, lse = run(spec, q, k, v, inputs)
        seen[..., lo:hi] = out[..., : hi - lo] > 0
        count = lse.exp()
    return seen, count
