"""Small specs and tensors for the runtime's tests."""

from __future__ import annotations

import torch
from torch import Tensor

import flashgen


def biased(**changes: object) -> flashgen.AttentionSpec:
    """Inputs of every kind of dim, a mask and a constant."""
    fields: dict[str, object] = {
        "name": "biased",
        "head_dim": {"qk": 16, "v": 24},
        "score": "s + slopes[h] * (k - qpos) + weight * bias[h, q, k]",
        "mask": "k < lengths[b]",
        "constants": {"weight": 0.5},
        "inputs": {
            "slopes": {"shape": ["heads"]},
            "bias": {"shape": ["heads", "seqlen_q", "seqlen_k"]},
            "lengths": {"shape": ["batch"], "dtype": "int"},
        },
    }
    return flashgen.AttentionSpec(**{**fields, **changes})


def learned(**changes: object) -> flashgen.AttentionSpec:
    """``biased`` with a learned bias and learned slopes, and a sink."""
    inputs = {
        "slopes": {"shape": ["heads"], "grad": True},
        "bias": {"shape": ["heads", "seqlen_q", "seqlen_k"], "grad": True},
        "lengths": {"shape": ["batch"], "dtype": "int"},
    }
    return biased(**{"inputs": inputs, "sink": "slopes[h]", **changes})


def plain(**changes: object) -> flashgen.AttentionSpec:
    """No inputs, causal."""
    fields: dict[str, object] = {"name": "plain", "head_dim": 16, "mask": "k <= qpos"}
    return flashgen.AttentionSpec(**{**fields, **changes})


def qkv(
    b: int = 2, hq: int = 4, hkv: int = 2, nq: int = 9, nk: int = 13, d: int = 16, dv: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """fp32 tensors of these sizes."""
    g = torch.Generator().manual_seed(b + 10 * nq + 100 * nk)
    return (
        torch.randn(b, hq, nq, d, generator=g),
        torch.randn(b, hkv, nk, d, generator=g),
        torch.randn(b, hkv, nk, dv, generator=g),
    )


def inputs_of_biased(q: Tensor, k: Tensor) -> dict[str, Tensor]:
    """Inputs that fit ``biased``."""
    b, h, nq, nk = q.shape[0], q.shape[1], q.shape[2], k.shape[2]
    return {
        "slopes": torch.linspace(0.1, 1.0, max(h, 1))[:h],
        "bias": torch.sin(torch.arange(h * nq * nk, dtype=torch.float32)).reshape(h, nq, nk),
        "lengths": torch.arange(b, dtype=torch.int32) * 5 + 3,
    }
