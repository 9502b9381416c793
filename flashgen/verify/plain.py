"""The same computation in plain PyTorch at the tensors' own precision: what a kernel's errors are
measured against. Standard attention, one matmul after the other, with S and P in memory:

    S = Q K^T (products in the dtype, sums in fp32)     weights in fp32     O = P (in the dtype) V

Its gradients are autograd's, with dS in the dtype where it enters a matmul, and with delta made of the stored
O, as in every backward that does not keep P (FlashAttention-2, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .gradients import gradients_of
from .meanings import MEANINGS
from .oracle import dropout_factor, scale_of, sink_of, weigh
from .pairs import Pairs


@torch.no_grad()
def plain(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    round_scores: bool = False,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``out`` (B, Hq, Nq, Dv) in q's dtype and ``lse`` (B, Hq, Nq) in fp32, for fp64 tensors in fp64.

    ``round_scores`` stores S in the tensors' dtype, as ``q @ k.mT`` on half tensors does: more error,
    and infinities past 65504 in fp16. Bounds are taken without it, which is the stricter comparison.
    """
    out, lse, _ = plain_results(spec, q, k, v, inputs, round_scores, seed)
    return out, lse


@torch.no_grad()
def plain_results(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    round_scores: bool = False,
    seed: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``plain``, and what ``lse`` lost by its rounding."""
    with _precision(spec.tf32):
        out, lse, rest = _attend(spec, q, k, v, inputs or {}, round_scores, seed)
        return out.to(q.dtype), lse, rest


def plain_gradients(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dout: Tensor | None = None,
    dlse: Tensor | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """``dq dk dv`` and ``d<name>`` of every input with ``grad: true``, each in its tensor's dtype."""

    given = inputs or {}

    def attend(q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        out, lse, _ = _attend(spec, q, k, v, inputs, False, seed)
        return out.to(q.dtype), lse

    with _precision(spec.tf32):
        if dout is not None and MEANINGS[spec.row].normalised:
            with torch.no_grad():
                out, lse, _ = _attend(spec, q, k, v, given, False, seed)
            # delta = rowsum(dO * O) - dlse: what O loses when it is stored counts as a gradient of lse.
            lost = (dout * (out - out.to(q.dtype))).nan_to_num(0, 0, 0).sum(-1).to(lse.dtype)
            dlse = lost if dlse is None else dlse + lost
        return gradients_of(attend, spec, q, k, v, given, dout, dlse)


def _attend(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    round_scores: bool,
    seed: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``out`` before it is stored, ``lse``, and what that lost by its rounding."""
    dtype = q.dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    group = max(q.shape[1] // max(k.shape[1], 1), 1)
    q, k, v = (x.to(wide) for x in (q, k, v))
    k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
    with torch.no_grad():
        zero = torch.zeros((*q.shape[:3], k.shape[2]), dtype=wide, device=q.device)
        visible = Pairs(zero, group, inputs, wide).mask(spec.mask_expr)
        hidden_from_all = ~visible.any(dim=2)[..., None]
    k, v = (torch.where(hidden_from_all, 0, x) for x in (k, v))
    s = q @ k.mT
    if round_scores:
        s = s.to(dtype).to(wide)
    s = _Rounded.apply(s * scale_of(spec), wide, dtype)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        live = visible & (Pairs(s, group, inputs, wide).score(spec.score_expr) != -torch.inf)
    pairs = Pairs(s, group, inputs, wide, live)
    weigh_scores = MEANINGS[spec.row].weigh
    p, lse, rest = weigh_scores(pairs.score(spec.score_expr), visible, sink_of(spec, pairs))
    kept = None if seed is None else dropout_factor(spec, tuple(zero.shape), seed, wide, q.device)
    p = _Rounded.apply(p if kept is None else p * kept, dtype, wide)  # type: ignore[no-untyped-call]
    return weigh(p, v, visible), lse, rest


class _Rounded(torch.autograd.Function):
    """A tensor rounded to one dtype on the way forth, its gradient to another on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: torch.dtype, back: torch.dtype) -> Tensor:
        ctx.back = back
        return x.to(forth).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        return grad[0].to(ctx.back).to(grad[0].dtype), None, None


class _precision:
    """fp32 matmuls on CUDA in tf32 or in IEEE fp32, whatever the process had chosen."""

    def __init__(self, tf32: bool) -> None:
        self.tf32 = tf32

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before)
