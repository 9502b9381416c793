"""Gradients of many cotangents at once: each is what it is alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.errors import TensorError
from flashgen.runtime import op

from .gradients import call, cotangents
from .specs import learned, plain, qkv

ALL = ["q", "k", "v", "slopes", "bias"]


def close(found: Any, want: Any) -> None:
    torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-12)


def forward(dropout: float = 0.0) -> tuple[list[Tensor], Tensor, Tensor]:
    """Learned tensors, ``out`` and ``lse``."""
    tensors = {n: t.requires_grad_(n in ALL) for n, t in call().items()}
    options = {"seed": 3} if dropout else {}
    out, lse = flashgen.compile(learned(dropout=dropout))(**tensors, return_lse=True, **options)
    return [tensors[n] for n in ALL], out, lse


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize(
    "n,through", [(3, ["out"]), (2, ["lse"]), (2, ["out", "lse"]), (1, ["out", "lse"])], ids=str
)
def test_batched_gradients(n: int, through: Sequence[str], dropout: float) -> None:
    given, out, lse = forward(dropout)
    results = [{"out": out, "lse": lse}[name] for name in through]
    whole = [torch.stack([c * (i + 1) - i for i in range(n)]) for c in cotangents(out, out.shape[3])]
    above = [c for c, name in zip(whole, ("out", "lse"), strict=True) if name in through]
    options = {"retain_graph": True, "allow_unused": True}  # v takes nothing from lse
    found = torch.autograd.grad(results, given, above, is_grads_batched=True, **options)
    for i in range(n):
        want = torch.autograd.grad(results, given, [c[i] for c in above], **options)
        close([t if t is None else t[i] for t in found], list(want))


def test_no_entry_at_all() -> None:
    (q, *rest), attn = qkv(), flashgen.compile(plain())
    none = q.new_zeros(0, *q.shape)
    assert torch.func.vmap(lambda q: attn(q, *rest))(none).shape == none.shape
    loss = torch.func.grad(lambda q: attn(q, *rest).sum())
    assert torch.func.vmap(loss)(none).shape == none.shape
    by_op = torch.func.vmap(lambda q: op.attention(q, *rest, [], plain().canonical_json(), None)[1])
    assert by_op(none).shape == none.shape[:-1]


def test_the_op_maps_any_dim_of_any_tensor() -> None:
    """As it is called by nested maps, some tensors mapped by one of them, some by the other, some by none."""
    q, k, v, *inputs = call().values()
    spec, seed = learned(dropout=0.25).canonical_json(), torch.tensor([7])
    out, lse, rest = op.attention(q, k, v, inputs, spec, seed)
    dout, dlse = cotangents(q, 24)
    douts, slopes = torch.stack([dout, -dout], 2), torch.stack([inputs[0], 2 * inputs[0]])
    seeds = torch.tensor([[7], [8], [9]])

    def gradients(dout: Tensor, slopes: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        dq, dk, dv, learned = op.attention_backward(
            dout, dlse, q, k, v, [slopes, *inputs[1:]], out, lse, rest, spec, seed
        )
        return (dq, dk, dv, *learned)

    inner = torch._vmap_internals._vmap(gradients, (2, 0, None))
    found = torch._vmap_internals._vmap(inner, (None, None, 0))(douts, slopes, seeds)
    for i in range(3):
        for j in range(2):
            close([t[i, j] for t in found], list(gradients(douts.select(2, j), slopes[j], seeds[i])))


def test_a_jacobian_by_one_call() -> None:
    q, k, v = (t.double() for t in qkv(b=1, hq=2, hkv=1, nq=2, nk=3))
    attn = flashgen.compile(plain())
    rows, whole = (
        torch.autograd.functional.jacobian(
            lambda *t: attn(*t, return_lse=True), (q, k, v), vectorize=vectorized
        )
        for vectorized in (False, True)
    )
    close(whole, rows)
    with pytest.raises(TensorError, match="no forward-mode derivative"):
        torch.autograd.functional.jacobian(
            lambda q: attn(q, k, v), q, vectorize=True, strategy="forward-mode"
        )
    with pytest.raises(TensorError, match="no second derivative"):
        torch.autograd.functional.hessian(lambda q: attn(q, k, v).sum(), q, vectorize=True)


def test_gradcheck_with_batched_gradients() -> None:
    q, k, v = (t.double().requires_grad_() for t in qkv(b=1, hq=2, hkv=1, nq=2, nk=3, d=16))
    torch.autograd.gradcheck(flashgen.compile(plain()), (q, k, v), check_batched_grad=True, fast_mode=True)
