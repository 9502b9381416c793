"""Generated kernels at the edges of 32-bit integers: Triton's interpreter against the oracle."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from flashgen.driver import lower_spec
from flashgen.spec.model import AttentionSpec

from .building import program, source

#: Mask, score, and values of the [batch] ints that they read.
CASES = [
    ("window(4, 2147483646)", "s", []),
    ("window(4, 2147483647)", "s", []),
    ("window(2147483647, 0)", "s", []),
    ("window(2147483647, 2147483647)", "s", []),
    ("k <= qpos + 2147483647", "s", []),
    ("k < 2147483647", "s", []),
    ("qpos - k <= n[b]", "s", [2**31 - 1, 3]),
    ("k < n[b] + 1", "s", [2**40, 3]),
    ("(k >= n[b]) & (k - 1 < n[b] + 9)", "s", [-(2**40), 3]),
    ("k < 40", "s + 1e-10 * k * (n[b] * n[b])", [100_000, -7]),
]
CODE = """
import sys
import torch, flashgen
from flashgen.driver import lower_spec
from flashgen.verify.oracle import oracle
from flashgen.verify.run import generated
from tests.emit.test_ints import CASES, spec

for mask, score, n in CASES:
    for nq, nk in ((37, 50), (50, 37)):
        g = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, 1, x, 16, generator=g) for x in (nq, nk, nk))
        inputs = {"n": torch.tensor(n)} if n else {}
        made = spec(mask, score, n)
        got = generated((32, 16), interpreted=True)(made, q, k, v, inputs)
        for a, b in zip(got, oracle(made, q, k, v, inputs)):
            try:
                torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
            except AssertionError as e:
                print(mask, score, nq, nk, e, file=sys.stderr)
                sys.exit(1)
"""


def spec(mask: str, score: str, n: list[int]) -> AttentionSpec:
    inputs = {"n": {"shape": ["batch"], "dtype": "int"}} if n else {}
    return AttentionSpec(name="ints", head_dim=16, mask=mask, score=score, inputs=inputs)


def test_no_integer_wraps() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("mask", [m for m, _, n in CASES if not n])
def test_no_literal_passes_32_bits(mask: str) -> None:
    text = source(lower_spec(spec(mask, "s", [])).program).text
    body = text[text.index("@triton.jit") :]
    assert all(int(n) < 2**31 for n in re.findall(r"(?<![\w.])\d+(?![\w.])", body))


def test_ints_are_held_to_their_range_before_they_are_narrowed() -> None:
    text = source(program("padded")).text
    assert "length_b = tl.minimum(tl.maximum(length_b, -(2**30)), 2**30).to(tl.int32)\n" in text
