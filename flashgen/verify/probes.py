"""Exact probes: with q = 0 and the score ``s``, what comes out is the mask itself, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .case import Case
from .run import Run, RunBackward


def mask_bits(run: Run, spec: AttentionSpec, case: Case, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """The pairs that ``run`` lets attend and dropout keeps, (B, Hq, Nq, Nk) bool, and exp(lse), the number of
    the former in each row.

    Unit vectors as values read d_v columns of P at a time. The spec's score must be 0 where s and inputs are.
    """
    seed = {} if case.seed_of(spec) is None else {"seed": case.dropout}
    writable = (*case.layouts[:2], "contiguous")
    q, k, v, inputs = replace(case, distribution="zero_q", layouts=writable).tensors(spec, device)
    n_k = k.shape[2]
    inputs = {n: torch.zeros_like(x) if x.is_floating_point() else x for n, x in inputs.items()}
    seen = torch.zeros(*q.shape[:3], n_k, dtype=torch.bool, device=device)
    count = torch.zeros(q.shape[:3], device=device)
    for lo in range(0, n_k, spec.d_v):
        hi = min(lo + spec.d_v, n_k)
        v.zero_()
        for column, key in enumerate(range(lo, hi)):
            v[:, :, key, column] = 1
        out, lse = run(spec, q, k, v, inputs, **seed)
        seen[..., lo:hi] = out[..., : hi - lo] > 0
        count = lse.exp()
    return seen, count


def kept_bits(
    run: RunBackward, spec: AttentionSpec, case: Case, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """The pairs that a backward keeps: in P Z, by which dV is summed, and in dP, both (B, Hq, Nq, Nk) bool.

    The spec's score must be ``s + x[b, h, q, k]`` of a learned ``x`` that is set to 0: its gradient is
    dS = P (Z dP - delta). With the same unit vector for each row of V and of dO dP is 1, and delta a mean of
    Z, so that dS is positive exactly where a pair is kept, unless all of a row are. Needs Hq = Hkv.
    """
    (name,) = spec.inputs
    q, k, v, inputs = replace(case, distribution="zero_q", layouts=("contiguous",) * 3).tensors(spec, device)
    inputs = {name: torch.zeros_like(inputs[name])}
    n_q, n_k = q.shape[2], k.shape[2]
    by_dv = torch.zeros(*q.shape[:3], n_k, dtype=torch.bool, device=device)
    dout = torch.zeros(*q.shape[:3], spec.d_v, dtype=q.dtype, device=device)
    v.zero_()
    v[..., 0] = dout[..., 0] = 1
    ds = run(spec, q, k, v, inputs, dout, None, seed=case.dropout)["d" + name]
    for lo in range(0, n_q, spec.d_v):
        hi = min(lo + spec.d_v, n_q)
        dout.zero_()
        for column, row in enumerate(range(lo, hi)):
            dout[:, :, row, column] = 1
        dv = run(spec, q, k, v, inputs, dout, None, seed=case.dropout)["dv"]
        by_dv[:, :, lo:hi] = (dv[..., : hi - lo] > 0).mT
    return by_dv, (ds > 0) | by_dv.all(-1, keepdim=True)
