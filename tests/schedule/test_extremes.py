"""Scores at the edge of fp32 on the CPU: -inf from a bias, very low literals, vanishing scales."""

from __future__ import annotations

import math

import pytest
import torch

from flashgen.driver import lower_spec
from flashgen.expr.nodes import real
from flashgen.expr.terms import call, multiple_of, tile
from flashgen.interpret.run import run
from flashgen.spec.model import AttentionSpec

PAIRS = {"shape": ["heads", "seqlen_q", "seqlen_k"]}
SPECS: dict[str, dict[str, object]] = {
    "bias": {"score": "s + pair[h, q, k]", "inputs": {"pair": PAIRS}},
    "minus inf taken away": {"score": "s - -pair[h, q, k]", "inputs": {"pair": PAIRS}},
    "bias under a mask": {"score": "s + pair[h, q, k]", "inputs": {"pair": PAIRS}, "mask": "causal"},
    "product": {"score": "s + 2.0 * pair[h, q, k]", "inputs": {"pair": PAIRS}},
    "large negative literal": {"score": "where(window(4, 0), s, -3.4e38)"},
    "doubled": {"score": "2.0 * where(window(4, 0), s, -1.7e38)"},
    "large literal": {"score": "min(s, 3.4e38)"},
    "vanishing scale": {"scale": 1e-50, "mask": "window(3, 0)"},
    "vanishing negative scale": {"scale": -1e-45, "mask": "window(3, 0)"},
    "vanishing factor": {"score": "s * 1e-30 * 1e-30", "mask": "window(3, 0)"},
    "vanishing quotient": {"score": "s / 1e38 / 1e30", "mask": "window(3, 0)"},
}


@pytest.mark.parametrize("fields", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("schedule", ["flash2", "standard"])
def test_extreme_scores_are_not_nan(fields: dict[str, object], schedule: str) -> None:
    spec = AttentionSpec(name="edge", head_dim=16, **fields)
    n = 70
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 16) for _ in range(3))
    tensors = {"q": q, "k": k, "v": v}
    row, key = torch.arange(n)[:, None], torch.arange(n)
    scores = (
        (2 if spec.score.startswith("2.0") else 1) * (0.25 if spec.scale is None else spec.scale) * q @ k.mT
    )
    if spec.inputs:
        pair = torch.randn(2, n, n)
        pair[:, :, :40] = -math.inf  # whole tiles of every row
        pair[:, 5] = -math.inf  # and a whole row
        tensors["pair"] = pair
        scores = scores + pair * (2 if "2.0" in spec.score else 1)
    if "/" in spec.score or "e-30" in spec.score:
        scores = scores * 0
    if spec.mask == "causal":
        scores = scores.masked_fill(key > row, -math.inf)
    elif spec.mask or "window" in spec.score:
        scores = scores.masked_fill((key > row) | (key < row - (3 if spec.mask else 4)), -math.inf)
    out = run(lower_spec(spec, schedule).program, {"BLOCK_M": 16, "BLOCK_N": 16}, tensors)
    torch.testing.assert_close(out["o"], scores.softmax(-1).nan_to_num(0.0) @ v, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out["lse"], scores.logsumexp(-1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sink", [torch.finfo(torch.float32).min, -3e38, -2.1e38, 3e38, -math.inf])
@pytest.mark.parametrize("schedule", ["flash2", "flash1", "standard", "standard_three_pass"])
def test_a_row_that_sees_no_key_has_its_sink_whatever_that_is(sink: float, schedule: str) -> None:
    """A sink that is switched off by the lowest number is -inf in base 2, as hidden scores are."""
    sinks = {"sinks": {"shape": ["heads"], "grad": True}}
    spec = AttentionSpec(name="edge", head_dim=16, mask="causal", sink="sinks[h]", inputs=sinks)
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 16) for n in (40, 28, 28))
    tensors = {"q": q, "k": k, "v": v, "sinks": torch.full((2,), sink)}
    out = run(lower_spec(spec, schedule).program, {"BLOCK_M": 16, "BLOCK_N": 16}, tensors)
    hidden = torch.arange(28) > torch.arange(40)[:, None] - 12
    scores = (0.25 * q @ k.mT).double().masked_fill(hidden, -math.inf)
    full = torch.cat([torch.full((1, 2, 40, 1), sink).double(), scores], -1)
    true = (full.softmax(-1).nan_to_num(0.0)[..., 1:] @ v.double()).float()
    torch.testing.assert_close(out["o"], true, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["lse"], full.logsumexp(-1).float(), atol=1e-5, rtol=1e-5)


def test_a_factor_below_fp32_is_not_a_factor() -> None:
    assert multiple_of(call("mul", tile("s"), real(2.0**-126)), "s") == 2.0**-126
    assert multiple_of(call("mul", tile("s"), real(2.0**-127)), "s") is None
