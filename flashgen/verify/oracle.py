"""The oracle: attention as the spec means it, dense and in fp64. It shares no lowering code with the
kernels: of flashgen it uses the parsed expressions and the operator table, nothing else.

    score[q, k] = score expression of s = scale * <Q[q], K[k]>      where the mask holds
    P = softmax(score) over the visible keys,  O = P V,  lse = log sum exp(score)

Beside the result stands how well the problem is conditioned, for an error bound which is neither
blind nor flaky: see ``Truth``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashgen.expr.evaluate import evaluate_torch
from flashgen.expr.limits import INT_RANGE
from flashgen.expr.nodes import Call, Expr, Read, Var, real, rewrite, walk
from flashgen.spec.model import AttentionSpec

#: Functions computed with an absolute, not only a relative, error of about one ulp of 1.
BOUNDED = frozenset(("tanh", "sigmoid", "sin", "cos"))
_STEP = 2.0**-20


@dataclass(frozen=True)
class Truth:
    """What is right, and how far rounding may carry an honest implementation from it.

    ``out`` (B, Hq, Nq, Dv); ``lse`` (B, Hq, Nq); ``visible`` (B, Hq, Nq, Nk) bool.
    ``magnitude`` (B, Hq, Nq, Dv) is P |V|, the scale of the error of a sum of products.
    ``condition`` (B, Hq, Nq): if every operation behind a logit is off by one ulp u, no visible logit of
    the row moves by more than about ``condition * u``. ``bounded`` (B, Hq, Nq): the same for relative
    errors of tanh and its like alone, which GPUs also have in coarse approximations.
    """

    out: Tensor
    lse: Tensor
    visible: Tensor
    magnitude: Tensor
    condition: Tensor
    bounded: Tensor


def oracle(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """``out`` (B, Hq, Nq, Dv) and ``lse`` (B, Hq, Nq) of ``spec``, both in ``dtype``.

    q (B, Hq, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv), any strides.
    """
    found = truth(spec, q, k, v, inputs, dtype)
    return found.out, found.lse


def truth(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Truth:
    """The oracle's whole answer; see ``oracle`` for shapes."""
    group = max(q.shape[1] // max(k.shape[1], 1), 1)
    q, k, v = q.to(dtype), *(x.to(dtype).repeat_interleave(group, dim=1) for x in (k, v))
    scale = scale_of(spec)
    s = scale * (q @ k.mT)
    pairs = Pairs(s, group, inputs or {}, dtype)
    score, visible = pairs.score(spec.score_expr), pairs.mask(spec.mask_expr)
    p, lse = softmax(score, visible)
    hidden_from_all = ~visible.any(dim=2)  # a key that no row sees may hold anything
    v = torch.where(hidden_from_all[..., None], 0, v)
    ulps = abs(scale) * (q.abs() @ k.abs().mT)
    moved, bounded = condition(spec.score_expr, score, ulps, pairs)
    return Truth(
        out=weigh(p, v, visible),
        lse=lse,
        visible=visible,
        magnitude=p @ torch.nan_to_num(v, 0, 0, 0).abs(),
        condition=_worst(moved, visible),
        bounded=_worst(bounded, visible),
    )


def _worst(moved: Tensor, visible: Tensor) -> Tensor:
    moved = torch.where(visible & moved.isfinite(), moved, 0)
    return moved.amax(-1) if moved.shape[-1] else moved.sum(-1)


def scale_of(spec: AttentionSpec) -> float:
    """``scale``, by default 1/sqrt(d_qk)."""
    return float(spec.d_qk**-0.5 if spec.scale is None else spec.scale)


def softmax(score: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """P and the natural logarithm of its denominator; a row with nothing to see has P = 0, lse = -inf."""
    score = torch.where(visible, score, -torch.inf)
    if score.shape[-1] == 0:
        return score, score.new_full(score.shape[:-1], -torch.inf)
    lse = torch.logsumexp(score, dim=-1)
    some = lse != -torch.inf
    return torch.where(some[..., None], torch.exp(score - lse[..., None]), 0), lse


def weigh(p: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """P V over visible pairs only: a hidden NaN is not seen, a visible one makes NaN."""
    bad = ~v.isfinite()
    out = p @ torch.where(bad, 0, v)
    if bad.any():
        seen = visible.to(p.dtype) @ bad.to(p.dtype)
        out = torch.where(seen > 0, torch.nan, out)
    return out


def _taken(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input as expressions see it: floats in ``dtype``, ints held to their range."""
    if x.dtype == torch.bool:
        return x
    return x.to(dtype) if x.is_floating_point() else x.clamp(-INT_RANGE, INT_RANGE).long()


class Pairs:
    """Evaluates expressions at every (b, h, q, k) of the dense score tensor ``s`` (B, Hq, Nq, Nk)."""

    def __init__(self, s: Tensor, group: int, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.shape, self.dtype = s.shape, dtype
        self.inputs = {name: _taken(x, dtype) for name, x in inputs.items()}
        index = [
            torch.arange(n, device=s.device).view([-1 if i == axis else 1 for i in range(4)])
            for axis, n in enumerate(s.shape)
        ]
        b, h, q, k = index
        n_q, n_k = s.shape[2:]
        self.values: dict[str, Any] = {"s": s, "b": b, "h": h, "hkv": h // group, "q": q, "k": k}
        self.values |= {"qpos": q + (n_k - n_q), "Nq": n_q, "Nk": n_k}
        self.device = s.device

    def value(self, e: Expr) -> Tensor:
        """``e`` at every pair, broadcast to (B, Hq, Nq, Nk)."""
        found = evaluate_torch(e, self.values, self._read, self.dtype)
        return torch.as_tensor(found, device=self.device).expand(self.shape)

    def score(self, e: Expr) -> Tensor:
        """A float expression at every pair."""
        return self.value(e).to(self.dtype)

    def mask(self, e: Expr | None) -> Tensor:
        """A mask at every pair; no mask sees everything."""
        if e is None:
            return torch.ones(self.shape, dtype=torch.bool, device=self.device)
        return self.value(e).bool()

    def _read(self, read: Read, index: tuple[Any, ...]) -> Tensor:
        """An input's elements; a read outside of it gives 0."""
        source = self.inputs[read.name]
        where = [torch.as_tensor(i, device=self.device).long() for i in index]
        if 0 in source.shape:
            return torch.zeros((), dtype=source.dtype, device=self.device)
        inside = torch.ones((), dtype=torch.bool, device=self.device)
        for i, n in zip(where, source.shape, strict=True):
            inside = inside & (i >= 0) & (i < n)
        found = source[tuple(i.clamp(0, n - 1) for i, n in zip(where, source.shape, strict=True))]
        return torch.where(inside, found, torch.zeros_like(found))


def condition(e: Expr, score: Tensor, ulps: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """By how many u a logit moves if every operation behind it is off by u (finite differences), and if
    the ``BOUNDED`` functions are.

    ``ulps`` is that number for ``s`` itself: the sum of the magnitudes of the products in the dot.
    """
    total, bounded = torch.zeros_like(score), torch.zeros_like(score)

    def slope(node: Expr, off: Expr) -> Tensor:
        return ((pairs.score(_moved(e, node, off)) - score) / _STEP).abs().nan_to_num(0, 0, 0)

    for node in dict.fromkeys(walk(e)):
        if node.type != "float" or not isinstance(node, Call | Var):
            continue
        if isinstance(node, Var):
            total += slope(node, Call("add", (node, real(_STEP)), "float")) * ulps
            continue
        off = Call("mul", (node, real(1 + _STEP)), "float")
        total += slope(node, off)
        if node.op in BOUNDED:
            bounded += slope(node, off)
            total += slope(node, Call("add", (node, real(_STEP)), "float"))
    return total, bounded


def _moved(e: Expr, node: Expr, new: Expr) -> Expr:
    return rewrite(e, lambda n: new if n == node else None)
