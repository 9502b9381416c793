"""The oracle: attention as the spec means it, dense and in fp64. It shares no lowering code with the
kernels: of flashgen it uses the parsed expressions and the operator table, nothing else.

    score[q, k] = score expression of s = scale * <Q[q], K[k]>      where the mask holds
    P = what the spec's row function makes of score over the visible keys (``meanings``)
    O = (P * Z) V with Z = keep / (1 - dropout)

Beside the result stands how well the problem is conditioned, for an error bound which is neither
blind nor flaky: see ``Truth``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .meanings import MEANINGS
from .pairs import Pairs, condition
from .philox import keep_mask, quantised


@dataclass(frozen=True)
class Truth:
    """What is right, and how far rounding may carry an honest implementation from it.

    ``out`` (B, Hq, Nq, Dv); ``lse`` (B, Hq, Nq), of no elements where the row function has none; ``visible``
    (B, Hq, Nq, Nk) bool.
    ``magnitude`` (B, Hq, Nq, Dv) is P Z |V|, the scale of the error of a sum of products; ``largest`` (B, Hq,
    1 or Nq, Dv) is the largest Z |V|, or the sum where each P may be 1, beyond which no P can carry it.
    ``condition`` (B, Hq, Nq): if every operation behind a logit is off by one ulp u, no visible logit of
    the row moves by more than about ``condition * u``. ``bounded`` (B, Hq, Nq): the same for relative
    errors of tanh and its like alone, which GPUs also have in coarse approximations.
    """

    out: Tensor
    lse: Tensor
    visible: Tensor
    magnitude: Tensor
    largest: Tensor
    condition: Tensor
    bounded: Tensor


@dataclass(frozen=True)
class Dense:
    """Everything on the way to the result. ``k`` and ``v`` are (B, Hq, Nk, …), a copy for every query head,
    0 where no row sees the key; ``p`` is before dropout, ``kept`` is Z or None. ``live`` are the pairs
    which a mask shows and whose score is above -inf: gradients flow through no others. ``rest`` is what
    ``lse`` lost by its own rounding."""

    q: Tensor
    k: Tensor
    v: Tensor
    pairs: Pairs
    score: Tensor
    visible: Tensor
    live: Tensor
    sink: Tensor | None
    p: Tensor
    kept: Tensor | None
    out: Tensor
    lse: Tensor
    rest: Tensor

    @property
    def p_kept(self) -> Tensor:
        """P Z, what multiplies V."""
        return self.p if self.kept is None else self.p * self.kept


def oracle(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``out`` (B, Hq, Nq, Dv) and ``lse`` (B, Hq, Nq) of ``spec``, both in ``dtype``.

    q (B, Hq, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv), any strides. ``seed`` is dropout's; without one
    nothing is dropped. Both results are differentiable.
    """
    found = dense(spec, q, k, v, inputs, dtype, seed)
    return found.out, found.lse


def dense(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int | None = None,
) -> Dense:
    """The computation of ``oracle`` with all that is on the way."""
    group = max(q.shape[1] // max(k.shape[1], 1), 1)
    q, k, v = q.to(dtype), *(x.to(dtype).repeat_interleave(group, dim=1) for x in (k, v))
    given = dict(inputs or {})
    shape = (*q.shape[:3], k.shape[2])
    with torch.no_grad():
        visible = Pairs(torch.zeros(shape, dtype=dtype, device=q.device), group, given, dtype).mask(
            spec.mask_expr
        )
        hidden_from_all = ~visible.any(dim=2)[..., None]  # a key that no row sees may hold anything
    k, v = (torch.where(hidden_from_all, 0, x) for x in (k, v))
    s = scale_of(spec) * (q @ k.mT)
    with torch.no_grad():
        live = visible & (Pairs(s, group, given, dtype).score(spec.score_expr) != -torch.inf)
    pairs = Pairs(s, group, given, dtype, live)
    score = pairs.score(spec.score_expr)
    sink = sink_of(spec, pairs)
    p, lse, rest = MEANINGS[spec.row].weigh(score, visible, sink)
    kept = None if seed is None else dropout_factor(spec, shape, seed, dtype, q.device)
    out = weigh(p if kept is None else p * kept, v, visible)
    return Dense(q, k, v, pairs, score, visible, live, sink, p, kept, out, lse, rest)


@torch.no_grad()
def truth(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int | None = None,
) -> Truth:
    """The oracle's whole answer; see ``oracle`` for arguments."""
    return judged(spec, dense(spec, q, k, v, inputs, dtype, seed))


@torch.no_grad()
def judged(spec: AttentionSpec, d: Dense) -> Truth:
    """A dense computation with its condition."""
    ulps = abs(scale_of(spec)) * (d.q.abs() @ d.k.abs().mT)
    moved, bounded = condition(spec.score_expr, d.score, ulps, d.pairs)
    moved, bounded = (_worst(x, d.visible) for x in (moved, bounded))
    expr = spec.sink_expr
    if expr is not None and d.sink is not None:
        zero = torch.zeros_like(d.sink)[..., None]
        found = condition(expr, d.sink[..., None], zero, d.pairs.rows())
        moved, bounded = (
            torch.maximum(x, y[..., 0].nan_to_num(0, 0, 0))
            for x, y in zip((moved, bounded), found, strict=True)
        )
    size = torch.nan_to_num(d.v, 0, 0, 0).abs()
    magnitude = d.p_kept @ size
    if MEANINGS[spec.row].normalised and size.shape[2]:
        largest = size.amax(2, keepdim=True)
    else:
        largest = d.visible.to(size) @ size
    if d.kept is not None and d.kept.numel():
        largest = largest * d.kept.max()
    return Truth(d.out, d.lse, d.visible, magnitude, largest, moved, bounded)


def _worst(moved: Tensor, visible: Tensor) -> Tensor:
    moved = torch.where(visible & moved.isfinite(), moved, 0)
    return moved.amax(-1) if moved.shape[-1] else moved.sum(-1)


def scale_of(spec: AttentionSpec) -> float:
    """``scale``, by default 1/sqrt(d_qk)."""
    return float(spec.d_qk**-0.5 if spec.scale is None else spec.scale)


def sink_of(spec: AttentionSpec, pairs: Pairs) -> Tensor | None:
    """The sink of every row, (B, Hq, Nq); no gradient flows through one of -inf."""
    e = spec.sink_expr
    if e is None:
        return None
    with torch.no_grad():
        live = pairs.rows().score(e) != -torch.inf
    return pairs.rows(live).score(e)[..., 0]


def dropout_factor(
    spec: AttentionSpec, shape: tuple[int, ...], seed: int, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """Z = keep / (1 - p) for every pair, with the p that is really drawn."""
    if not spec.dropout:
        return None
    batch, heads, n_q, n_k = shape
    keep = torch.from_numpy(keep_mask(seed, batch, heads, n_q, n_k, spec.dropout)).to(device)
    return keep.to(dtype) / (1 - quantised(spec.dropout))


def weigh(p: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """P V over visible pairs only: a hidden NaN is not seen, a visible one makes NaN."""
    bad = ~v.isfinite()
    out = p @ torch.where(bad, 0, v)
    if bad.any():
        seen = visible.to(p.dtype) @ bad.to(p.dtype)
        out = torch.where(seen > 0, torch.nan, out)
    return out
