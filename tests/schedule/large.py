"""Scores as large as numbers get, and what is right for them: torch's softmax of the same rounded scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

LOWEST = torch.finfo(torch.float32).min
#: A bias for each row, repeated along eight keys or more.
ROWS: dict[str, tuple[float, ...]] = {
    "moderate": (0.5, -1.0),
    "all -1e9": (-1e9,),
    "all lowest": (LOWEST,),
    "all 3e38": (3e38,),
    "some -1e9": (-1e9, 0.25, 0.0),
    "some lowest": (LOWEST, 1.0, LOWEST),
    "both ends": (LOWEST, LOWEST, 3e38),
    "lowest and hidden": (LOWEST, -math.inf),
    "all hidden": (-math.inf,),
    "one large among small": (1e9, 0.0, 0.0, 0.0),
}
BIASED = AttentionSpec(
    name="biased",
    head_dim=16,
    score="s + bias[h, q, k]",
    inputs={"bias": {"shape": ["heads", "seqlen_q", "seqlen_k"], "grad": True}},
)
SUNK = AttentionSpec(
    name="sunk", head_dim=16, sink="sinks[h]", inputs={"sinks": {"shape": ["heads"], "grad": True}}
)
SINKS = (0.5, 1e9, -1e9, LOWEST, 3e38, -math.inf)


def biases(n: int) -> Tensor:
    """(1, rows, n)."""
    rows = [(values * n)[:n] for values in ROWS.values()]
    return torch.tensor([rows])


def tensors(heads: int, n_q: int, n_k: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """q, k, v, do and dlse of one batch."""
    g = torch.Generator().manual_seed(0)
    sizes = {"q": n_q, "k": n_k, "v": n_k, "do": n_q}
    drawn = {x: torch.randn(1, heads, n, 16, generator=g).to(dtype) for x, n in sizes.items()}
    return drawn | {"dlse": torch.randn(1, heads, n_q, generator=g).to(dtype)}


def expected(given: dict[str, Tensor], through_lse: bool = False) -> dict[str, Tensor]:
    """``o``, ``lse`` and the gradients of all of q, k, v, bias and sinks that are there."""
    leaves = {
        n: t.clone().requires_grad_() for n, t in given.items() if n in ("q", "k", "v", "bias", "sinks")
    }
    logits = leaves["q"] @ leaves["k"].mT * 0.25
    if "bias" in leaves:
        logits = logits + leaves["bias"]
    n_k = logits.shape[-1]
    if "sinks" in leaves:
        column = leaves["sinks"].view(1, -1, 1, 1).expand(*logits.shape[:3], 1)
        logits = torch.cat([logits, column], -1)
    seen = (logits > -math.inf).any(-1, keepdim=True)
    logits = torch.where(seen, logits, 0)
    o = torch.where(seen, logits.softmax(-1), 0)[..., :n_k] @ leaves["v"]
    largest = logits.detach().amax(-1, keepdim=True)  # torch's logsumexp has the rounding in its derivative
    sums = largest[..., 0] + (logits - largest).exp().sum(-1).log()
    lse = torch.where(seen[..., 0], sums, -math.inf)
    loss = (o * given["do"]).sum()
    if through_lse:
        loss = loss + torch.where(seen[..., 0], lse * given["dlse"], 0).sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {"o": o.detach(), "lse": lse.detach()} | {f"d{n}": g for n, g in zip(leaves, found, strict=True)}


def given_to(spec: AttentionSpec) -> dict[str, Tensor]:
    """The tensors of a call of ``BIASED`` or ``SUNK``, with do and dlse."""
    if spec is SUNK:
        return tensors(len(SINKS), 5, 24) | {"sinks": torch.tensor(SINKS)}
    return tensors(1, len(ROWS), 24) | {"bias": biases(24)}


def assert_right(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Every result that is there, to fp32's precision."""
    for name, x in got.items():
        if name in want:
            said = f"{name}: {{}}".format
            torch.testing.assert_close(x, want[name], atol=2e-5, rtol=2e-5, msg=said)
