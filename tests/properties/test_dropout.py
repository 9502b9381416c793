"""Dropout: the mask is the documented one, bit for bit, in the forward and in both uses of the backward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check_dropout
from flashgen.verify.check import check_kept
from flashgen.verify.philox import keep_mask
from flashgen.verify.probes import mask_bits
from flashgen.verify.run import compiled, compiled_backward, program

BIASED = AttentionSpec(
    name="x",
    head_dim=16,
    score="s + bias[b, h, q, k]",
    dropout=0.3,
    inputs={"bias": {"shape": ["batch", "heads", "seqlen_q", "seqlen_k"], "grad": True}},
)
PLAIN = AttentionSpec(name="x", head_dim=16, dropout=0.3)
SEEDS = (0, 2**32 - 1, 2**32, 2**63 - 1)
TILES = ((16, 16), (16, 64), (64, 32))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_the_program_drops_what_the_definition_says(tile: tuple[int, int], seed: int) -> None:
    for n_q, n_k in ((37, 70), (70, 37)):
        assert check_dropout(BIASED, Case(2, 3, 3, n_q, n_k, tile=tile, dropout=seed)) == []


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp64"])
def test_so_does_a_call_and_its_backward(dtype: str) -> None:
    assert check_dropout(BIASED, Case(2, 2, 2, 50, 41, dtype, dropout=12345)) == []


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_so_do_the_kernels(tile: tuple[int, int], seed: int) -> None:
    pytest.importorskip("triton")
    spec = BIASED.replace(head_dim=64)  # of which the probe reads as many columns at a time
    assert check_dropout(spec, Case(1, 2, 2, 20, 40, tile=tile, dropout=seed), "triton-interpreted") == []


def test_another_mask_is_noticed() -> None:
    def other(run):
        return lambda *args, seed: run(*args, seed=seed ^ 2**32)

    case = Case(1, 2, 2, 9, 9)
    wrong = check_kept(BIASED, case, other(compiled), other(compiled_backward))
    assert {f.tensor for f in wrong} == {"out", "dv", "ds"}


def test_lse_is_that_before_dropout() -> None:
    _, count = mask_bits(compiled, PLAIN, Case(1, 2, 2, 20, 33))
    assert (count.round() == 33).all()


def test_dropped_pairs_do_not_depend_on_grouping_or_a_mask() -> None:
    spec = PLAIN.replace(mask="causal")
    case = Case(1, 4, 2, 40, 40, dropout=9)
    seen, _ = mask_bits(program((16, 32)), spec, case)
    expected = keep_mask(9, 1, 4, 40, 40, 0.3) & np.tri(40, dtype=bool)
    assert seen.equal(torch.from_numpy(expected))


def test_training_false_drops_nothing_and_zero_is_no_dropout() -> None:
    q, k, v, _ = Case(1, 2, 1, 20, 20).tensors(PLAIN)
    plain = flashgen.compile(PLAIN.replace(dropout=0.0))(q, k, v)
    assert flashgen.compile(PLAIN)(q, k, v, training=False).equal(plain)


def test_torch_s_generator_draws_the_seed_that_is_not_given() -> None:
    q, k, v, _ = Case(1, 2, 1, 20, 20).tensors(PLAIN)
    attn = flashgen.compile(PLAIN)
    torch.manual_seed(3)
    one, other = attn(q, k, v), attn(q, k, v)
    torch.manual_seed(3)
    assert attn(q, k, v).equal(one)
    assert not one.equal(other)


def test_a_seed_may_be_a_tensor() -> None:
    q, k, v, _ = Case(1, 2, 1, 20, 20).tensors(PLAIN)
    attn = flashgen.compile(PLAIN)
    assert attn(q, k, v, seed=torch.tensor(2**40)).equal(attn(q, k, v, seed=2**40))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_equal_gradients(reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    tensors = [x.requires_grad_() for x in Case(1, 2, 1, 20, 20).tensors(PLAIN)[:3]]
    attn = flashgen.compile(PLAIN)
    torch.manual_seed(5)
    plain = torch.autograd.grad(attn(*tensors).square().sum(), tensors)
    torch.manual_seed(5)
    out = checkpoint(attn, *tensors, use_reentrant=reentrant)
    torch.randn(100)  # the generator goes on in between
    torch.autograd.backward(out.square().sum())
    for x, expected in zip(tensors, plain, strict=True):
        assert x.grad is not None
        assert x.grad.equal(expected)


def test_the_mean_over_seeds_is_what_comes_out_without_dropout() -> None:
    q, k, v, _ = Case(1, 1, 1, 16, 16, "fp64").tensors(PLAIN)
    attn = flashgen.compile(PLAIN)
    mean = torch.stack([attn(q, k, v, seed=i) for i in range(400)]).mean(0)
    assert (mean - attn(q, k, v, training=False)).abs().max() < 0.2
