"""fp64 tensors are computed in fp64 throughout: positions, literals, factors, statistics, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import ROWS
from flashgen.verify.gradients import truth_gradients
from flashgen.verify.oracle import oracle
from flashgen.verify.run import program, program_backward
from flashgen.verify.specs import cases, specs

#: Distributions whose results are as exact as fp64; the others' logits of 1e5 lose five digits of it.
SMALL = ("randn", "constant", "one_hot", "zero_q")


def close(got: Tensor, true: Tensor, bound: float = 2e-13) -> None:
    finite = true[true.isfinite()]
    largest = max(1.0, float(finite.detach().abs().max()) if finite.numel() else 0.0)
    torch.testing.assert_close(got, true, rtol=0, atol=bound * largest, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["flash2", "standard", "flash1"])
@settings(max_examples=8)
@given(data=st.data())
def test_random_specs_are_as_exact_as_fp64(schedule: str, data: st.DataObject) -> None:
    rows = ROWS if schedule == "flash2" else ("softmax",)
    spec = data.draw(specs(("fp64",), training=True, rows=rows))
    case = data.draw(
        cases(spec, ("fp64",), 40, ((16, 16), (16, 32))).filter(lambda c: c.distribution in SMALL)
    )
    q, k, v, inputs = case.tensors(spec)
    inputs = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    seed = case.seed_of(spec)
    for got, true in zip(
        program(case.tile, schedule)(spec, q, k, v, inputs, seed),
        oracle(spec, q, k, v, inputs, seed=seed),
        strict=True,
    ):
        close(got, true)
    dout, dlse = (None if x is None else x.double() for x in case.upstream(spec))
    backward = program_backward(case.tile, "backward" if schedule == "flash2" else f"{schedule}_backward")
    found = backward(spec, q, k, v, inputs, dout, dlse, seed)
    for name, true in truth_gradients(spec, q, k, v, inputs, dout, dlse, seed).items():
        close(found[name], true, 2e-12)


def test_positions_and_literals_are_fp64() -> None:
    """Against torch in doubles: of an int tensor and a number torch itself makes fp32."""
    spec = AttentionSpec(name="far", head_dim=16, score="s - abs(q - k) * 0.05 * (h + 1)")
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 40, 16, generator=g, dtype=torch.float64, requires_grad=True) for _ in "qkv")
    at, h = torch.arange(40).double(), torch.arange(3).double()
    scores = q @ k.mT / 4 - (at[:, None] - at).abs() * 0.05 * (h + 1)[:, None, None]
    want = scores.softmax(-1) @ v
    out, lse = flashgen.compile(spec)(q, k, v, return_lse=True)
    close(out, want)
    close(lse, scores.logsumexp(-1))
    dout = torch.randn(want.shape, generator=g, dtype=torch.float64)
    for got, true in zip(*(torch.autograd.grad(x, (q, k, v), dout) for x in (out, want)), strict=True):
        close(got, true)
