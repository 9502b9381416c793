"""Dropout through the public call: what the seed decides, and that a recomputation drops the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import flashgen
from flashgen.errors import TensorError
from flashgen.runtime import op
from flashgen.verify.oracle import oracle

from .gradients import assert_same, call, expected, gradients
from .specs import learned, plain, qkv

HALF = plain(dropout=0.5)
ALL = ["q", "k", "v", "slopes", "bias"]


def test_a_seed_decides_what_is_dropped() -> None:
    attn, tensors = flashgen.compile(HALF), qkv()
    one = attn(*tensors, seed=1)
    assert torch.equal(one, attn(*tensors, seed=1))
    assert torch.equal(one, attn(*tensors, seed=torch.tensor(1)))
    assert torch.equal(one, attn(*tensors, seed=torch.tensor([1])))
    assert not torch.equal(one, attn(*tensors, seed=2))
    assert not torch.equal(one, attn(*tensors, seed=2**32 + 1))
    torch.testing.assert_close(one.double(), oracle(HALF, *tensors, seed=1)[0], atol=1e-5, rtol=1e-5)


def test_without_a_seed_torch_draws_one() -> None:
    attn, tensors = flashgen.compile(HALF), qkv()
    torch.manual_seed(3)
    first, second = attn(*tensors), attn(*tensors)
    torch.manual_seed(3)
    assert torch.equal(first, attn(*tensors))
    assert not torch.equal(first, second)


def test_gradients_are_those_of_the_same_drops() -> None:
    tensors, spec = call(), learned(dropout=0.25)
    found = gradients(flashgen.compile(spec), tensors, ALL, seed=11)
    assert_same(found, expected(spec, tensors, ALL, seed=11))


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_ends_of_seeds(seed: int) -> None:
    q, k, v = qkv(b=1, nq=3, nk=5)
    out = flashgen.compile(HALF)(q, k, v, seed=seed)
    torch.testing.assert_close(out.double(), oracle(HALF, q, k, v, seed=seed)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "seed,message",
    [
        (-1, r"seed is -1; expected 0 <= seed < 2\*\*63"),
        (2**63, r"seed is 9223372036854775808; expected 0 <= seed"),
        (1.0, "seed is a float; expected an int or an int64 tensor"),
        (True, "seed is a bool; expected an int"),
        ("1", "seed is a str; expected an int"),
        (torch.tensor([1.0]), "seed is torch.float32 .*expected one int64 on cpu"),
        (torch.tensor([1], dtype=torch.int32), "seed is torch.int32 .*expected one int64"),
        (torch.tensor([1, 2]), r"seed is torch.int64 of shape \[2\]"),
        (torch.tensor([], dtype=torch.int64), r"seed is torch.int64 of shape \[0\]"),
        (torch.tensor([1], device="meta"), "seed is .* on meta; expected one int64 on cpu"),
    ],
    ids=str,
)
def test_what_is_no_seed_is_refused(seed: object, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        flashgen.compile(HALF)(*qkv(), seed=seed)  # type: ignore[call-overload]


def test_numpys_ints_are_seeds() -> None:
    attn, tensors = flashgen.compile(HALF), qkv()
    assert torch.equal(attn(*tensors, seed=np.int64(4)), attn(*tensors, seed=4))


@pytest.mark.parametrize("training", ["no", None, 0])
def test_training_is_true_or_false(training: object) -> None:
    with pytest.raises(TensorError, match=rf"training is {training!r} \(an? .*expected True or False"):
        flashgen.compile(HALF)(*qkv(), training=training)  # type: ignore[call-overload]


def test_a_seed_that_drops_nothing_is_checked_too() -> None:
    with pytest.raises(TensorError, match="seed is -4; expected 0 <= seed"):
        flashgen.compile(HALF)(*qkv(), training=False, seed=-4)


def test_the_public_mask_is_that_of_a_call() -> None:
    attn, (q, k, _) = flashgen.compile(HALF), qkv()
    rows = torch.eye(k.shape[2], q.shape[3]).expand(*k.shape[:2], -1, -1).contiguous()
    weights, whole = attn(q, k, rows, seed=9), attn(q, k, rows, training=False)
    keep = flashgen.keep_mask(9, (*q.shape[:3], k.shape[2]), 0.5)[..., : q.shape[3]]
    assert torch.equal(weights[..., : k.shape[2]] != 0, keep & (whole[..., : k.shape[2]] != 0))


def test_a_seed_for_nothing_is_refused() -> None:
    with pytest.raises(TensorError, match="plain has no dropout for a seed: its field `dropout` is 0"):
        flashgen.compile(plain())(*qkv(), seed=1)


@pytest.mark.parametrize(
    "seed,message",
    [
        (None, r"plain takes 4 tensors \['q', 'k', 'v', 'seed'\], got 3"),
        (torch.tensor([1.0]), "seed is torch.float32 of shape .1. on cpu; expected torch.int64"),
        (torch.tensor([1, 2]), r"seed is torch.int64 of shape \[2\]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_op_checks_seeds_too(seed: Tensor | None, message: str, device: str) -> None:
    q, k, v = (t.to(device) for t in qkv())
    seed = seed if seed is None else seed.to(device)
    with pytest.raises(TensorError, match=message.replace("cpu", device)):
        op.attention(q, k, v, [], HALF.canonical_json(), seed)


def test_nothing_is_dropped_but_in_training() -> None:
    attn, whole, tensors = flashgen.compile(learned(dropout=0.5)), flashgen.compile(learned()), call()
    assert torch.equal(attn(**tensors, training=False), whole(**tensors))
    found = gradients(attn, tensors, ALL, training=False)
    assert_same(found, gradients(whole, tensors, ALL))
    assert torch.equal(attn(**tensors, training=False, seed=3), whole(**tensors))


def test_the_spec_that_drops_nothing_is_the_same_otherwise() -> None:
    attn = flashgen.compile(learned(dropout=0.5, description="é ≤ '\"\\"))
    assert attn._without_dropout == attn.spec.replace(dropout=0.0).canonical_json()


@pytest.mark.parametrize("training", [False, True])
def test_compiled_calls_drop_the_same(training: bool) -> None:
    attn, (q, k, v) = flashgen.compile(HALF), qkv()

    def layer(q: Tensor) -> Tensor:
        return attn(q, k, v, training=training)

    whole = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.manual_seed(4)
    found = [whole(q), whole(q)]
    torch.manual_seed(4)
    assert all(torch.equal(t, layer(q)) for t in found)
    assert torch.equal(*found) == (not training)


def test_an_int_seed_that_changes_is_compiled_once_more_at_most() -> None:
    attn, (q, k, v) = flashgen.compile(HALF), qkv()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph

    layer = torch.compile(lambda q, seed: attn(q, k, v, seed=seed), fullgraph=True, backend=backend)
    for seed in (5, 6, 7, 2**40, 2**63 - 1):
        assert torch.equal(layer(q, seed), attn(q, k, v, seed=seed))
    assert len(graphs) <= 2


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_checkpoint_recomputes_the_same_drops(use_reentrant: bool, compiled: bool) -> None:
    if compiled and use_reentrant:
        pytest.skip("torch.compile takes use_reentrant=False")
    attn = flashgen.compile(learned(dropout=0.25))

    def block(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, bias: Tensor, lengths: Tensor) -> Tensor:
        out, lse = attn(2 * q, k, v, slopes=slopes, bias=bias, lengths=lengths, return_lse=True)
        return out.sin() * lse.sin().unsqueeze(-1)

    def kept(*tensors: Tensor) -> Tensor:
        return checkpoint(block, *tensors, use_reentrant=use_reentrant)

    def run(f: object) -> list[Tensor]:
        given = [t.clone().requires_grad_(n in ALL) for n, t in call().items()]
        torch.manual_seed(9)
        out = f(*given)  # type: ignore[operator]
        torch.manual_seed(10)  # what comes between must not matter
        return (
            [out, *torch.autograd.grad(out.sum(), given[:5])] if not use_reentrant else backward(out, given)
        )

    def backward(out: Tensor, given: list[Tensor]) -> list[Tensor]:
        out.sum().backward()
        return [out, *(t.grad for t in given[:5] if t.grad is not None)]

    f = torch.compile(kept, fullgraph=True, backend="aot_eager") if compiled else kept
    for a, b in zip(run(f), run(block), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
