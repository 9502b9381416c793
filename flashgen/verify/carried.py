"""What rounding alone may do to gradients: ``rounding.py`` carried through the backward.

With T the scores, dP = Z * (dO V^T) and delta = rowsum(dO * O) - dlse (FlashAttention-2, section 3.1):

    dT = P * (dP - delta),  dS = dT * dT/ds,  dQ = scale dS K,  dK = scale dS^T Q,  dV = (P Z)^T dO

Errors of single pairs (of the logit, and the rounding of dS and P Z to the tensors' dtype) are independent:
in a sum their squares add up. Those of delta (of the stored O it is made from) and of lse move a whole row
together. Where equal terms round alike, the sum is off by as much as each, relatively: where rows of Q
and dO, or of K and V, are equal, errors add up and not their squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flashgen.expr.nodes import Expr, Read, Var
from flashgen.spec.model import AttentionSpec

from .gradients import learned
from .meanings import MEANINGS
from .oracle import Dense, dense, judged, scale_of
from .pairs import Pairs
from .rounding import APPROXIMATE, ROUNDINGS, Precision, floors
from .slopes import Rounding, Slope, slopes, spread

SMALLEST = 2.0**-500  # the squares of smaller numbers are 0 in fp64
SPREAD = 2.0  # ulps, each over three standard deviations of a rounding
DRAWS = 8  # of signs, where errors of rows and of pairs meet in an element of an input


@dataclass(frozen=True)
class _Flow:
    """What flows back through T, over pairs: dT, what it is off by at each pair (``apart``) and what the
    whole row is off by (``together``, with its sign: from lse, from delta)."""

    dt: Tensor
    apart: Tensor
    together: tuple[Tensor, Tensor]

    def alike(self, queries: Tensor, keys: Tensor | float) -> _Flow:
        """The same for sums over queries and keys of which so many are equal (``_copies``)."""
        from_lse, from_delta = self.together
        by_row = queries.sqrt()
        return _Flow(self.dt, self.apart * (queries * keys) ** 0.5, (from_lse * by_row, from_delta * by_row))

    def times(self, slope: Slope) -> _Flow:
        """The same behind a factor."""
        apart = self.apart * (slope.value.abs() + slope.error) + self.dt.abs() * slope.error
        from_lse, from_delta = self.together
        return _Flow(self.dt * slope.value, apart, (from_lse * slope.value, from_delta * slope.value))


@torch.no_grad()
def gradient_floors(
    spec: AttentionSpec,
    right: Mapping[str, Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dout: Tensor | None = None,
    dlse: Tensor | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """What rounding alone may do, per element of each gradient; ``right`` are the true ones."""
    inputs = inputs or {}
    d = dense(spec, q, k, v, inputs, seed=seed)
    do = torch.zeros_like(d.out) if dout is None else dout.double()
    dl = torch.zeros_like(d.lse) if dlse is None else dlse.double()
    p = Precision.of(q.dtype, spec.tf32)
    scale, heads = abs(scale_of(spec)), k.shape[1]
    by_row = (_errors if MEANINGS[spec.row].normalised else _errors_alone)(spec, d, do, dl, q.dtype)
    flow = by_row.of_pairs(d, do, p)
    by = _slopes(spec, d, spec.score_expr, d.pairs, d.live, p)
    ds = flow.times(by.get(Var("s", "float"), Slope(torch.zeros_like(d.p), torch.zeros_like(d.p))))
    # Small dS are rounded absolutely, before or after they are scaled.
    small = max(1.0, 1 / max(scale, 1e-6)) * p.tiny * d.live
    pair = scale * (ds.apart + p.operand * ds.dt.abs() + small)
    rows = [scale * x for x in ds.together]
    by_query, by_key = _copies(d.q, do), _copies(d.k, d.v).mT
    squares = by_query * (pair.square() + rows[0].square() + rows[1].square())
    weight = d.p_kept
    lost = weight * (by_row.logit + p.operand + by_row.lse) + p.tiny * d.live
    lost = torch.where(by_row.logit < 1, lost, d.live * (1.0 if d.kept is None else d.kept))
    count = d.live.to(d.p)
    errors = {
        "dq": _rss(pair * by_key.sqrt(), d.k)
        + sum((x @ d.k).abs() for x in rows)
        + _steps(p, count, _rss(scale * ds.dt, d.k)),
        "dk": _grouped(squares, d.q, heads)
        + _steps(p, count.mT, scale * _grouped(ds.dt.square(), d.q, heads), heads),
        "dv": _grouped(by_query * lost.square(), do, heads)
        + _steps(p, count.mT, _grouped(weight.square(), do, heads), heads),
    }
    shared = flow.alike(by_query, by_key)
    found = [(n, d.pairs, shared.times(slope), count) for n, slope in by.items() if isinstance(n, Read)]
    found += [(n, at, its.alike(by_query, 1.0), c) for n, at, its, c in _of_sink(spec, d, by_row, p)]
    for n, pairs, given, counted in found:
        name = "d" + n.name
        before = errors.get(name, torch.zeros_like(right[name]))
        errors[name] = before + _of_input(pairs, n, given, counted, p)
    out = {}
    for name, x in ({"dq": q, "dk": k, "dv": v} | {"d" + n: inputs[n] for n in learned(spec)}).items():
        own = Precision.of(x.dtype)
        alike = (own.unit + p.operand) * right[name].abs()
        out[name] = SPREAD * errors.get(name, torch.zeros_like(right[name])) + alike + max(own.tiny, SMALLEST)
    return out


@dataclass(frozen=True)
class _Rows:
    """Errors by row, (B, Hq, Nq, 1): relative ones of P from the logits and from lse, that of delta."""

    logit: Tensor
    lse: Tensor
    delta: Tensor
    delta_error: Tensor

    def of_pairs(self, d: Dense, do: Tensor, p: Precision) -> _Flow:
        """dT and its errors."""
        z = 1.0 if d.kept is None else d.kept
        dp = z * (do @ d.v.mT)
        width = max(2 * p.sums, p.products)
        inner = dp - self.delta
        own = width * z * _rss(do, d.v.mT) + 2 * p.sums * (dp.abs() + self.delta.abs())
        apart = d.p * (self.logit * inner.abs() + own)
        # Where a logit may be off by more than 1, P may be anything.
        apart = torch.where(self.logit < 1, apart, d.live * (inner.abs() + own))
        alike = (d.p * own).sum(-1, keepdim=True)  # where all keys are alike, so are the errors of dP
        return _Flow(d.p * inner, apart, (d.p * self.lse * inner, d.p * (self.delta_error + alike)))


def _errors(spec: AttentionSpec, d: Dense, do: Tensor, dl: Tensor, dtype: torch.dtype) -> _Rows:
    p = Precision.of(dtype, spec.tf32)
    truth = judged(spec, d)
    _, lse_floor = floors(truth, dtype, spec.tf32)
    logit = ROUNDINGS * p.products * truth.condition + (APPROXIMATE * truth.bounded if p.half else 0)
    logit, lse = (torch.expm1(x.clamp(max=1))[..., None] for x in (logit, lse_floor))
    z = 1.0 if d.kept is None else d.kept
    whole = (do * d.out).sum(-1, keepdim=True)
    stored = p.unit * whole.abs() + _norm(p.unit * do * d.out) + p.tiny * _norm(do)
    moved = torch.where(logit < 1, (logit + p.operand) * d.p + p.tiny, d.live)
    weights = _norm(moved * z * (do @ d.v.mT))
    sums = 4 * p.sums * (whole.abs() + dl[..., None].abs())
    return _Rows(logit, lse, whole - dl[..., None], stored + weights + sums)


@dataclass(frozen=True)
class _Alone(_Rows):
    """Errors where each pair is weighed by itself: nothing moves a whole row."""

    def of_pairs(self, d: Dense, do: Tensor, p: Precision) -> _Flow:
        """dT = P (1 - P) dP. A logit's error moves P (1 - P) at most as P; 1 - P has P's rounding."""
        z = 1.0 if d.kept is None else d.kept
        dp = z * (do @ d.v.mT)
        own = max(2 * p.sums, p.products) * z * _rss(do, d.v.mT) + 4 * p.sums * dp.abs()
        slope, nothing = d.p * (1 - d.p), torch.zeros_like(d.p)
        apart = slope * (self.logit * dp.abs() + own) + ROUNDINGS * p.sums * d.p * dp.abs()
        apart = torch.where(self.logit < 1, apart, d.live * (dp.abs() + own))
        return _Flow(slope * dp, apart, (nothing, nothing))


def _errors_alone(spec: AttentionSpec, d: Dense, do: Tensor, dl: Tensor, dtype: torch.dtype) -> _Rows:
    p = Precision.of(dtype, spec.tf32)
    truth = judged(spec, d)
    logit = ROUNDINGS * p.products * truth.condition + (APPROXIMATE * truth.bounded if p.half else 0)
    logit = torch.expm1(logit.clamp(max=1))[..., None]
    return _Alone(logit, *[torch.zeros_like(logit)] * 3)


def _slopes(
    spec: AttentionSpec, d: Dense, e: Expr, pairs: Pairs, live: Tensor, p: Precision
) -> dict[Var | Read, Slope]:
    ulps: Tensor | float = 0.0
    if pairs is d.pairs:
        ulps = abs(scale_of(spec)) * (d.q.abs() @ d.k.abs().mT).nan_to_num(0, 0, 0)
    bounded = APPROXIMATE if p.half else ROUNDINGS * p.sums
    off = Rounding(ROUNDINGS * p.products * ulps, ROUNDINGS * p.sums, bounded)
    return slopes(pairs, e, learned(spec), live, off)


def _copies(*matrices: Tensor) -> Tensor:
    """How many rows of a head are as this one, (B, H, N, 1). So many errors are the same: their sum squared
    is as many times the sum of their squares."""
    both = torch.cat(matrices, -1)
    out = torch.ones_like(both[..., :1])
    for b, heads in enumerate(both):
        for h, rows in enumerate(heads):
            _, which, count = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
            out[b, h] = count[which][:, None].to(out)
    return out


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(-1, keepdim=True).sqrt()


def _rss(a: Tensor, b: Tensor) -> Tensor:
    """The root of the sum of squares of the terms of a @ b."""
    return (a.square() @ b.square()).sqrt()


def _grouped(squares: Tensor, other: Tensor, heads: int) -> Tensor:
    """As ``_rss`` with ``squares`` transposed, over the query heads that share one of ``heads`` as well."""
    return _shared(squares.mT @ other.square(), heads).sqrt()


def _shared(x: Tensor, heads: int) -> Tensor:
    return x.view(x.shape[0], heads, x.shape[1] // heads, *x.shape[2:]).sum(2)


def _steps(p: Precision, count: Tensor, size: Tensor, heads: int = 0) -> Tensor:
    """Of adding up ``count`` terms whose squares add up to ``size`` squared."""
    terms = count.sum(-1, keepdim=True)
    return p.sums * (_shared(terms, heads) if heads else terms).sqrt() * size


def _of_input(pairs: Pairs, n: Read, flow: _Flow, count: Tensor, p: Precision) -> Tensor:
    """Of the sum over all pairs that read an element. Rows and pairs meet there in any pattern, so the sum
    of squares is estimated, with random signs."""
    gen = torch.Generator(count.device).manual_seed(0)

    def signs(x: Tensor) -> Tensor:
        return torch.randint(0, 2, x.shape, generator=gen, device=x.device, dtype=x.dtype) * 2 - 1

    drawn = [
        spread(
            pairs,
            n,
            signs(flow.apart) * flow.apart + sum(signs(x[..., :1]) * x for x in flow.together),
        )
        for _ in range(DRAWS)
    ]
    terms, size = spread(pairs, n, count), spread(pairs, n, flow.dt.square()).sqrt()
    return torch.stack(drawn).square().mean(0).sqrt() + p.sums * terms.sqrt() * size


def _of_sink(
    spec: AttentionSpec, d: Dense, rows: _Rows, p: Precision
) -> list[tuple[Read, Pairs, _Flow, Tensor]]:
    """A sink has probability exp(sink - lse) and value 0: its dT is -P delta."""
    e = spec.sink_expr
    if e is None or d.sink is None:
        return []
    live = (d.sink != -torch.inf)[..., None]
    share = torch.where(live, torch.exp(d.sink - d.lse)[..., None], 0)
    apart = torch.where(rows.logit < 1, share * rows.logit, live.to(share)) * rows.delta.abs()
    together = (share * rows.lse * rows.delta, share * rows.delta_error)
    flow = _Flow(-share * rows.delta, apart, together)
    pairs = d.pairs.rows()
    found = _slopes(spec, d, e, pairs, live, p)
    return [(n, pairs, flow.times(s), live.to(share)) for n, s in found.items() if isinstance(n, Read)]
