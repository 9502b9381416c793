"""What each row function means, dense and differentiable, for the oracle and for plain PyTorch: P of scores.

    softmax     P = exp(score - lse) over the visible keys and the sink, lse = log(sum exp(score) + exp(sink))
    sigmoid     P = 1 / (1 + exp(-score)) of every visible key; Ramapuram et al. 2024 (arXiv:2409.04431)

It shares no code with ``rows/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

#: P of score (B, Hq, Nq, Nk), visible and sink (B, Hq, Nq): P; the natural logarithm of its denominator; and
#: what that loses where it is rounded. The latter two have no elements where there is no denominator.
Weigh: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Meaning:
    """``normalised``: weights of a row are at most 1 together, and dS has what a row has in common, delta."""

    weigh: Weigh
    normalised: bool


def softmax(score: Tensor, visible: Tensor, sink: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """A row with nothing to see has P = 0, lse = -inf. Logits may be as large as numbers get: P is made from
    their distances to the largest, not by way of the logarithm."""
    score = torch.where(visible, score, -torch.inf)
    logits = score if sink is None else torch.cat((score, sink[..., None]), -1)
    if logits.shape[-1] == 0:
        nothing = score.new_full(score.shape[:-1], -torch.inf)
        return score, nothing, torch.zeros_like(nothing)
    some = (logits != -torch.inf).any(-1)
    # Not of a row of -inf, whose derivative would be NaN.
    logits = torch.where(some[..., None], logits, 0)
    largest = logits.detach().amax(-1)
    weights = torch.exp(logits - largest[..., None])
    total = weights.sum(-1)
    p = torch.where(some[..., None], weights[..., : score.shape[-1]] / total[..., None], 0)
    lse = largest + total.log()
    rest = torch.where(some, (largest - lse) + total.log(), 0).detach()
    return p, torch.where(some, lse, -torch.inf), rest


def sigmoid(score: Tensor, visible: Tensor, sink: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Raises ``ValueError`` for a sink, which has no meaning here."""
    if sink is not None:
        raise ValueError("a sigmoid has no denominator for a sink")
    none = score.new_empty(0)
    return torch.where(visible, torch.sigmoid(torch.where(visible, score, 0)), 0), none, none


MEANINGS: dict[str, Meaning] = {
    "softmax": Meaning(softmax, normalised=True),
    "sigmoid": Meaning(sigmoid, normalised=False),
}
