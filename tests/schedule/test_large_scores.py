"""The softmax of what was asked, forward and backward, however large the scores are."""

from __future__ import annotations

import pytest
import torch

import flashgen
from flashgen.driver import lower_spec
from flashgen.interpret.run import run
from flashgen.spec.model import AttentionSpec

from .large import BIASED, LOWEST, SUNK, assert_right, expected, given_to

SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}
PAIRS = [
    ("flash2", "backward"),
    ("flash2", "backward_lse"),
    ("flash1", "flash1_backward"),
    ("standard", "standard_backward"),
    ("standard_three_pass", "standard_backward_lse"),
]


@pytest.mark.parametrize("spec", [BIASED, SUNK], ids=["bias", "sink"])
@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_every_schedule(spec: AttentionSpec, forward: str, backward: str) -> None:
    given, lse = given_to(spec), backward.endswith("_lse")
    want = expected(given, lse)
    left = run(lower_spec(spec, forward).program, SIDES, given)
    assert_right(left, want)
    assert_right(run(lower_spec(spec, backward).program, SIDES, given | left, check=True), want)


@pytest.mark.parametrize("sink", [-2.5e38, LOWEST])
@pytest.mark.parametrize("schedule", ["flash2", "flash1", "standard", "standard_three_pass"])
def test_a_row_that_sees_nothing_but_the_least_of_sinks(schedule: str, sink: float) -> None:
    """In base 2 it would be -inf, as its hidden pairs are: of 20 queries the first 12 see none of 8 keys."""
    spec = AttentionSpec(
        name="sunk", head_dim=16, mask="causal", sink="sinks[h]", inputs={"sinks": {"shape": ["heads"]}}
    )
    q, k, v = (torch.randn(1, 1, n, 16) for n in (20, 8, 8))
    given = {"q": q, "k": k, "v": v, "sinks": torch.tensor([sink])}
    found = run(lower_spec(spec, schedule).program, SIDES, given, check=True)
    assert (found["o"][:, :, :12] == 0).all()
    torch.testing.assert_close(found["lse"][:, :, :12], torch.full((1, 1, 12), sink))
    assert found["o"].isfinite().all()


@pytest.mark.parametrize("value", [-1e9, LOWEST, 3e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_row_of_one_value_weighs_all_keys_alike(value: float, dtype: torch.dtype) -> None:
    """Eight keys, dO = 1: out is the mean of V, and each key's dV is 0.125."""
    q, k, v = torch.randn(3, 1, 1, 8, 16).to(dtype).unbind()
    q = torch.zeros_like(q[:, :, :1])
    v.requires_grad_()
    bias = torch.full((1, 1, 8), value)
    out, lse = flashgen.compile(BIASED)(q, k, v, bias=bias, return_lse=True)
    out.backward(torch.ones_like(out))
    torch.testing.assert_close(out, v.mean(2, keepdim=True))
    torch.testing.assert_close(v.grad, torch.full_like(v, 0.125))
    assert lse.item() == pytest.approx(value)


def test_the_ends_of_fp64() -> None:
    q, k, v = torch.randn(3, 1, 1, 8, 16, dtype=torch.float64).unbind()
    v.requires_grad_()
    bias = torch.full((1, 8, 8), -1e308, dtype=torch.float64)
    out = flashgen.compile(BIASED)(q, k, v, bias=bias)
    out.backward(torch.ones_like(out))
    torch.testing.assert_close(out, v.mean(2, keepdim=True).expand_as(out))
    torch.testing.assert_close(v.grad, torch.ones_like(v))


@pytest.mark.parametrize(
    "score", ["s - 1e9", "where(k < 8, s, -1e9) - 1e9", "min(s * 0.0, -3.4e38)", "s * 1e30"]
)
def test_large_literals(score: str) -> None:
    spec = AttentionSpec(name="literal", head_dim=16, score=score)
    q, k, v = torch.randn(3, 1, 1, 24, 16).unbind()
    v.requires_grad_()
    s = (q @ k.mT) * 0.25
    scores = {
        "s - 1e9": s - 1e9,
        "where(k < 8, s, -1e9) - 1e9": torch.where(torch.arange(24) < 8, s, -1e9) - 1e9,
        "min(s * 0.0, -3.4e38)": (s * 0).clamp(max=-3.4e38),
        "s * 1e30": s * 1e30,
    }[score]
    dout = torch.randn_like(v)
    want = scores.softmax(-1)
    out = flashgen.compile(spec)(q, k, v)
    out.backward(dout)
    torch.testing.assert_close(out, want @ v)
    torch.testing.assert_close(v.grad, want.mT @ dout)


def test_only_scores_that_may_be_large_pay() -> None:
    """One more number of each row, and only where a backward may follow."""

    def results(**fields: object) -> list[str]:
        program = lower_spec(AttentionSpec(name="paying", head_dim=16, **fields)).program
        return [t.name for t in program.tensors if t.role == "out"]

    bias = {"score": "s + bias[k]", "inputs": {"bias": {"shape": ["seqlen_k"]}}}
    assert results(score="softcap(s, 50.0) - 0.5 * (qpos - k)", mask="causal") == ["o", "lse"]
    assert results(**bias) == ["o", "lse", "lse_lo"]
    assert results(**bias, backward=False) == ["o", "lse"]
