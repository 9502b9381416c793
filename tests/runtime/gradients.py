"""Gradients of a call, and what they should be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import flashgen
from flashgen.verify.oracle import oracle

from .specs import inputs_of_biased, qkv


def call(**sizes: int) -> dict[str, Tensor]:
    """The tensors of a call of ``biased`` or ``learned``, fp64: what is not right is wrong, not rounded."""
    q, k, v = (t.double() for t in qkv(dv=24, **sizes))
    inputs = inputs_of_biased(q, k)
    return {"q": q, "k": k, "v": v} | {
        n: t.double() if t.is_floating_point() else t for n, t in inputs.items()
    }


def cotangents(q: Tensor, d_v: int) -> tuple[Tensor, Tensor]:
    """``dout`` and ``dlse``."""
    g = torch.Generator().manual_seed(5)
    shape = (*q.shape[:3], d_v)
    return (
        torch.randn(shape, generator=g, dtype=q.dtype),
        torch.randn(shape[:3], generator=g, dtype=torch.float64 if q.dtype == torch.float64 else None),
    )


def gradients(
    attn: Any, tensors: dict[str, Tensor], wanted: list[str], lse: bool = True, **options: Any
) -> dict[str, Tensor]:
    """Of ``wanted``, by ``attn``, for some dout and dlse."""
    given = {n: t.detach().requires_grad_(n in wanted) for n, t in tensors.items()}
    out, sums = attn(**given, return_lse=True, **options)
    dout, dlse = cotangents(given["q"], out.shape[3])
    pairs = [(t, c) for t, c in [(out, dout), (sums, dlse)][: 1 + lse] if t.requires_grad]
    outputs, cotangent = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, [given[n] for n in wanted], cotangent, materialize_grads=True)
    return dict(zip(wanted, found, strict=True))


def expected(
    spec: flashgen.AttentionSpec,
    tensors: dict[str, Tensor],
    wanted: list[str],
    lse: bool = True,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """The same through the oracle."""

    def attn(q: Tensor, k: Tensor, v: Tensor, return_lse: bool, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        out, found = oracle(spec, q, k, v, inputs, seed=seed)
        return out, torch.where(found == -torch.inf, 0, found)  # of what is constant, no derivative

    return gradients(attn, tensors, wanted, lse)


def assert_same(found: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Equal but for rounding in fp64."""
    for name, t in want.items():
        torch.testing.assert_close(found[name], t, atol=1e-10, rtol=1e-10, msg=lambda m, n=name: f"d{n}: {m}")
