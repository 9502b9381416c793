"""Integers on a GPU: exact in compiled kernels, and int64 values that do not fit stop the device."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.verify.gradients import truth_gradients
from flashgen.verify.oracle import oracle

pytestmark = pytest.mark.gpu

ROWS = {"shape": ["batch", "seqlen_k"], "dtype": "int"}
LOW, HIGH = -(2**31), 2**31 - 1


@pytest.mark.parametrize(
    "mask",
    [
        "(at[b, k] <= at[b, qpos]) & (at[b, qpos] - at[b, k] < 86400)",
        "at[b, k] == at[b, qpos]",
        "at[b, k] // 7 % 5 <= at[b, qpos] // at[b, 0] % 5",
        "at[b, k] * at[b, qpos] // 3 < 1000",
        "(k < at[b, 0] - 1) | (k + at[b, 1] < 40)",
        "(q * 100000000) % 7 == (k * 100000000) % 7",
    ],
)
@pytest.mark.parametrize("edges", [False, True], ids=["times", "edges"])
def test_kernels_are_exact_over_all_of_int32(mask: str, edges: bool) -> None:
    spec = AttentionSpec(name="ints", head_dim=64, mask=mask, inputs={"at": ROWS} if "at[" in mask else {})
    g = torch.Generator().manual_seed(0)
    q, k, v, dout = (torch.randn(2, 2, 300, 64, generator=g).to("cuda", torch.bfloat16) for _ in range(4))
    at = 1_700_000_000 + torch.sort(torch.randint(0, 400_000, (2, 300), generator=g), dim=1).values
    if edges:
        drawn = torch.randint(0, 8, (2, 300), generator=g)
        at = torch.tensor([LOW, HIGH, LOW + 1, HIGH - 1, 0, -1, 2**30, 7])[drawn]
    inputs = {"at": at.cuda()} if spec.inputs else {}
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out, lse = flashgen.compile(spec)(*leaves, **inputs, return_lse=True)
    want, want_lse = oracle(spec, q, k, v, inputs)
    torch.testing.assert_close(out.double(), want, atol=3e-2, rtol=3e-2)
    torch.testing.assert_close(lse.double(), want_lse, atol=2e-3, rtol=2e-3)
    found = torch.autograd.grad(out, leaves, dout)
    for got, true in zip(found, truth_gradients(spec, q, k, v, inputs, dout).values(), strict=True):
        torch.testing.assert_close(got.double(), true, atol=6e-2, rtol=6e-2)


CODE = """
import torch, flashgen
spec = flashgen.AttentionSpec(
    name="padded", head_dim=64, mask="k < length[b]", inputs={"length": {"shape": ["batch"], "dtype": "int"}}
)
q = torch.randn(2, 2, 64, 64, device="cuda", dtype=torch.bfloat16)
length = torch.tensor([3, 40], device="cuda")
attend = flashgen.compile(spec)
attend(q, q, q, length=length)
torch.cuda.synchronize()
print("fits")
length[1] = 2**31
attend(q, q, q, length=length)
torch.cuda.synchronize()
print("unseen")
"""


def test_the_device_refuses_what_does_not_fit() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert "fits" in done.stdout
    assert "unseen" not in done.stdout
    assert "length holds a value beyond int32" in done.stderr
