"""Flash attention by hand, in torch, with known bugs to plant: what the verifier must notice.

Not a model of the generated kernels, only a second honest implementation (online softmax over tiles,
P in the tensors' dtype) whose bugs are the ones kernels really had.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec
from flashgen.verify.oracle import Pairs, scale_of

BUGS = (
    "no_rescale",  # the accumulator keeps the old maximum
    "inverse_rescale",  # the erratum of the FlashAttention-2 paper's Algorithm 1
    "max_from_zero",  # the running maximum starts at 0 instead of -inf
    "max_of_first_tile",  # later tiles do not raise the maximum (overflows)
    "max_per_tile",  # the row maximum of the tile forgets the earlier tiles
    "sum_forgets",  # l is not rescaled
    "mask_after_max",  # hidden scores take part in the maximum
    "rows_share_max",  # one maximum for a whole tile of rows
    "sees_one_more",  # a window one key too wide
    "sees_one_less",  # and one too narrow
    "skips_last_tile",  # the last, ragged tile of keys is not visited
    "padding_counts",  # keys past the end count as score 0
    "p_in_bf16",  # P rounded more than the tensors' dtype asks
    "scale_twice",
    "lse_base_2",
    "lse_without_max",
    "wrong_group",  # head h reads KV head h % Hkv
    "top_left",  # q instead of q + Nk - Nq
    "nan_rows",  # a row that sees nothing divides by zero
    "hidden_nan",  # multiplies hidden keys by zero instead of leaving them out
)
TILE = 16


def flash(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    bug: str = "",
) -> tuple[Tensor, Tensor]:
    """``out`` and ``lse``; ``bug`` names the one that is planted."""
    n_q, n_k = q.shape[2], k.shape[2]
    group = q.shape[1] // k.shape[1]
    dtype, acc = q.dtype, torch.float64 if q.dtype == torch.float64 else torch.float32
    head = torch.arange(q.shape[1])
    head = head % k.shape[1] if bug == "wrong_group" else head // group
    k, v = k[:, head], v[:, head]
    s = (q.to(acc) @ k.to(acc).mT) * scale_of(spec) ** (2 if bug == "scale_twice" else 1)
    pairs = Pairs(s, group, inputs, acc)
    if bug == "top_left":
        pairs.values["qpos"] = pairs.values["q"]
    score, visible = pairs.score(spec.score_expr), pairs.mask(spec.mask_expr)
    if bug in ("sees_one_more", "sees_one_less"):
        visible = _off_by_one(visible, bug)
    if bug == "padding_counts" and n_k % TILE:
        extra = TILE - n_k % TILE
        score = torch.nn.functional.pad(score, (0, extra))
        visible = torch.nn.functional.pad(visible, (0, extra), value=True)
        v = torch.nn.functional.pad(v, (0, 0, 0, extra))
    elif bug == "skips_last_tile" and n_k % TILE:
        score, visible = score[..., : n_k // TILE * TILE], visible[..., : n_k // TILE * TILE]
    unseen = ~visible.any(dim=2)[..., None]
    v = v if bug == "hidden_nan" else torch.where(unseen, 0, v)
    m = s.new_full((*s.shape[:2], n_q), 0.0 if bug == "max_from_zero" else -torch.inf)
    l = torch.zeros_like(m)  # noqa: E741
    o = s.new_zeros(*s.shape[:2], n_q, v.shape[3])
    for lo in range(0, score.shape[-1], TILE):
        x, seen, v_tile = score[..., lo : lo + TILE], visible[..., lo : lo + TILE], v[:, :, lo : lo + TILE]
        hidden = torch.where(seen, x, -torch.inf)
        top = (x if bug == "mask_after_max" else hidden).amax(-1)
        if bug == "rows_share_max" and n_q:
            top = top.amax(-1, keepdim=True).expand(top.shape)
        m_new = torch.maximum(m, top)
        if bug == "max_per_tile":
            m_new = top
        if bug == "max_of_first_tile" and lo:
            m_new = m
        anchor = torch.where(m_new == -torch.inf, 0, m_new)
        p = torch.exp(hidden - anchor[..., None])
        alpha = torch.exp(m - anchor)
        scale_o = {"no_rescale": torch.ones_like(alpha), "inverse_rescale": 1 / alpha}.get(bug, alpha)
        l = p.sum(-1) + (l if bug == "sum_forgets" else l * alpha)  # noqa: E741
        p = p.to(torch.bfloat16 if bug == "p_in_bf16" else dtype).to(acc)
        o = o * scale_o[..., None] + p @ v_tile.to(acc)
        m = m_new
    none = (l == 0) & (bug != "nan_rows")
    o = torch.where(none[..., None], 0, o / l[..., None])
    lse = torch.where(none, -torch.inf, (0 if bug == "lse_without_max" else m) + torch.log(l))
    lse = lse * 1.4426950408889634 if bug == "lse_base_2" else lse
    return o.to(dtype), lse


def _off_by_one(visible: Tensor, bug: str) -> Tensor:
    """Every row's last visible key moved by one: the mask as an off-by-one bound makes it."""
    n_k = visible.shape[-1]
    index = torch.arange(n_k)
    last = torch.where(visible, index, -1).amax(-1, keepdim=True) if n_k else visible.long()
    if bug == "sees_one_less":
        return visible & (index != last)
    return visible | ((index == last + 1) & (last >= 0))
