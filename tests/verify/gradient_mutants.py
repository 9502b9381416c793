"""The backward of flash attention by hand, in torch, with known bugs to plant: what the judge must notice.

A second honest implementation (FlashAttention-2's formulas, dS and P in the tensors' dtype, delta from the
stored O), dense over pairs, whose bugs are the ones a backward really has.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flashgen.expr.nodes import Expr, Read, Var, reads
from flashgen.spec.model import AttentionSpec
from flashgen.verify.gradients import learned
from flashgen.verify.oracle import dropout_factor, scale_of
from flashgen.verify.pairs import Pairs
from flashgen.verify.plain import plain
from flashgen.verify.slopes import Rounding, Slope, slopes, spread

BUGS = (
    "no_scale",  # dQ and dK without scale
    "scale_twice",
    "no_scale_in_dk",
    "no_delta",
    "delta_without_rescale",  # delta of P instead of P Z: rowsum(P * dP) with dP not masked
    "no_dlse",
    "dlse_adds",  # the wrong sign
    "group_not_summed",  # only the last query head of a group counts
    "wrong_group",  # head h belongs to KV head h % Hkv
    "no_rescale",  # dropout: 1 / (1 - p) forgotten in dP
    "no_rescale_in_dv",
    "dv_not_dropped",  # dropout forgotten in dV
    "p_dropped_twice",  # dT from P Z instead of P
    "no_score_slope",  # dS = dT
    "slope_of_first_tile",  # a where() or max() decided once for all keys
    "hidden_pairs",  # the mask forgotten where P is recomputed
    "sees_one_more",
    "sees_one_less",
    "skips_last_tile",  # of queries, in dK and dV
    "last_tile_only",  # dQ stored instead of accumulated
    "nan_rows",  # a row that sees nothing: exp(-inf - -inf)
    "ds_in_bf16",
    "lse_without_sink",
    "sink_sign",
    "sink_counts_once",  # the sink's gradient without the other batches
    "batch_not_summed",  # an input's gradient of the last batch only
    "input_scaled",  # dS scale instead of dT
    "input_through_s",  # dS instead of dT: an input's own slope forgotten
    "heads_share",  # an input of KV heads gets only one query head's share
)
TILE = 16


def flash_backward(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    dout: Tensor | None,
    dlse: Tensor | None,
    seed: int | None = None,
    bug: str = "",
) -> dict[str, Tensor]:
    """The gradients; ``bug`` names the one that is planted."""
    dtype, acc = q.dtype, torch.float64 if q.dtype == torch.float64 else torch.float32
    o, lse = plain(spec, q, k, v, inputs, seed=seed)
    if bug == "lse_without_sink":
        _, lse = plain(_without_sink(spec), q, k, v, inputs, seed=seed)
    o, lse = o.to(acc), lse.to(acc)
    do = torch.zeros_like(o) if dout is None else dout.to(acc)
    dl = torch.zeros_like(lse) if dlse is None else dlse.to(acc)
    group = q.shape[1] // k.shape[1]
    own = torch.arange(q.shape[1])
    own = own % k.shape[1] if bug == "wrong_group" else own // group
    qs, ks, vs = q.to(acc), k[:, own].to(acc), v[:, own].to(acc)

    shape = (*q.shape[:3], k.shape[2])
    visible = Pairs(torch.zeros(shape, dtype=acc), group, inputs, acc).mask(spec.mask_expr)
    unseen = ~visible.any(2)[..., None]
    ks, vs = torch.where(unseen, 0, ks), torch.where(unseen, 0, vs)
    if bug in ("sees_one_more", "sees_one_less"):
        visible = _off_by_one(visible, bug)
    if bug == "hidden_pairs":
        visible = torch.ones_like(visible)
    pairs = Pairs(scale_of(spec) * (qs @ ks.mT), group, inputs, acc)
    score = torch.where(visible, pairs.score(spec.score_expr), -torch.inf)
    live = score != -torch.inf
    base = lse if bug == "nan_rows" else torch.where(lse == -torch.inf, torch.inf, lse)
    p = torch.exp(score - base[..., None])
    kept = None if seed is None else dropout_factor(spec, shape, seed, acc, q.device)
    z = torch.ones_like(p) if kept is None else kept

    dp = do @ vs.mT
    delta = (do * o).sum(-1)
    if bug == "delta_without_rescale":
        delta = (p * dp).sum(-1)
    dp = dp * ((z > 0).to(acc) if bug == "no_rescale" else z)
    delta = {"no_delta": torch.zeros_like(delta)}.get(bug, delta)
    delta = delta - {"no_dlse": 0, "dlse_adds": -1}.get(bug, 1) * dl
    dt = (p * z if bug == "p_dropped_twice" else p) * (dp - delta[..., None])

    by = _slopes(spec, spec.score_expr, pairs, live)
    by_s = by.pop(Var("s", "float"), torch.zeros_like(p))
    if bug == "slope_of_first_tile" and by_s.numel():
        by_s = by_s[..., :1].expand(shape)
    ds = dt if bug == "no_score_slope" else dt * by_s
    ds = ds.to(torch.bfloat16 if bug == "ds_in_bf16" else dtype).to(acc)
    weights = {"dv_not_dropped": p, "no_rescale_in_dv": p * (z > 0)}.get(bug, p * z)
    pz = weights.to(acc).to(dtype)
    scale = {"no_scale": 1.0, "scale_twice": scale_of(spec) ** 2}.get(bug, scale_of(spec))

    kept_keys = ds[..., -TILE:] if bug == "last_tile_only" else ds
    dq = scale * (kept_keys @ (ks[:, :, -TILE:] if bug == "last_tile_only" else ks))
    last = shape[2] // TILE * TILE if bug == "skips_last_tile" else shape[2]
    dk = (1.0 if bug == "no_scale_in_dk" else scale) * (ds[:, :, :last].mT @ qs[:, :, :last])
    dv = pz.to(acc)[:, :, :last].mT @ do[:, :, :last]

    def shared(x: Tensor) -> Tensor:
        if bug == "group_not_summed":
            return x[:, group - 1 :: group]
        return torch.zeros_like(x[:, : k.shape[1]]).index_add(1, own, x)

    out = {"dq": dq.to(dtype), "dk": shared(dk).to(dtype), "dv": shared(dv).to(dtype)}
    sums = {name: torch.zeros(inputs[name].shape, dtype=acc) for name in learned(spec)}
    for n, slope in by.items():
        amount = {"input_scaled": ds * scale, "input_through_s": ds}.get(bug, dt * slope)
        sums[n.name] += spread(pairs, n, _part(amount, bug, group, spec.inputs[n.name].shape))
    _add_sink(spec, pairs, lse, delta, bug, sums)
    return out | {"d" + name: x.to(inputs[name].dtype) for name, x in sums.items()}


def _without_sink(spec: AttentionSpec) -> AttentionSpec:
    exprs = [e for e in (spec.score_expr, spec.mask_expr) if e is not None]
    used = {r.name for e in exprs for r in reads(e)}
    return spec.replace(sink=None, inputs={n: i.model_dump() for n, i in spec.inputs.items() if n in used})


def _add_sink(
    spec: AttentionSpec, pairs: Pairs, lse: Tensor, delta: Tensor, bug: str, sums: dict[str, Tensor]
) -> None:
    if spec.sink_expr is None:
        return
    rows = pairs.rows()
    sink = rows.score(spec.sink_expr)
    live = sink != -torch.inf
    share = torch.where(live, torch.exp(sink - lse[..., None]), 0)
    dt = (1 if bug == "sink_sign" else -1) * share * delta[..., None]
    for n, slope in _slopes(spec, spec.sink_expr, rows, live).items():
        amount = dt * slope
        if bug == "sink_counts_once":
            amount = torch.cat((torch.zeros_like(amount[:-1]), amount[-1:]))
        sums[n.name] += spread(rows, n, amount)


def _part(amount: Tensor, bug: str, group: int, shape: tuple[object, ...]) -> Tensor:
    if bug == "batch_not_summed" and "batch" not in shape:
        return torch.cat((torch.zeros_like(amount[:-1]), amount[-1:]))
    if bug == "heads_share" and "kv_heads" in shape:
        first = torch.arange(amount.shape[1]) % group == 0
        return amount * first[:, None, None]
    return amount


def _slopes(spec: AttentionSpec, e: Expr, pairs: Pairs, live: Tensor) -> dict[Var | Read, Tensor]:
    found: dict[Var | Read, Slope] = slopes(pairs, e, learned(spec), live, Rounding(0.0, 0.0, 0.0))
    return {n: x.value for n, x in found.items()}


def _off_by_one(visible: Tensor, bug: str) -> Tensor:
    """Every key's last visible query moved by one: the mask as an off-by-one bound makes it."""
    n_q = visible.shape[2]
    index = torch.arange(n_q)[:, None]
    last = torch.where(visible, index, -1).amax(2, keepdim=True) if n_q else visible.long()
    if bug == "sees_one_less":
        return visible & (index != last)
    return visible | ((index == last + 1) & (last >= 0))
