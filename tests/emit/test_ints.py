"""Generated kernels at the edges of 32-bit integers: Triton's interpreter against the oracle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from flashgen.driver import lower_spec
from flashgen.spec.model import AttentionSpec

from .building import program, source

LOW, HIGH = -(2**31), 2**31 - 1
EDGES = [(HIGH - 2, 3), (LOW, 3)]
TIMES = [(1_700_000_000, 200_000), (HIGH - 199_999, 200_000)]
#: Mask, score, and the ints that they read: one for each batch, or (lowest, how many) of each batch's row.
CASES: list[tuple[str, str, list[Any]]] = [
    ("window(4, 2147483647)", "s", []),
    ("k <= qpos + 2147483647", "s", []),
    ("k < 2147483647", "s", []),
    ("(q * 100000000) % 7 == (k * 100000000) % 7", "s", []),
    ("qpos - k <= n[b]", "s", [HIGH, 3]),
    ("(k < n[b] - 1) & (k + n[b] < 2147483640)", "s", [LOW, 30]),
    ("(k < n[b] + 1) | (2 * k < n[b] - 7)", "s", [HIGH, 21]),
    ("(k >= n[b]) & (k - 1 < n[b] + 9)", "s", [LOW, 3]),
    ("(k >= n[b] + 3) | (abs(n[b]) // -1 < -5)", "s", [HIGH, 5]),
    ("k < 40", "s + 1e-10 * k * (n[b] * n[b])", [100_000, -7]),
    (
        "(n[b, k] <= n[b, q]) & (n[b, q] - n[b, k] < 86400)",
        "s",
        TIMES,
    ),
    ("n[b, k] == n[b, q]", "s", EDGES),
    (
        "n[b, k] // 7 % 3 == n[b, q] // -86400 % -3",
        "s + 1e-9 * (n[b, q] - n[b, k])",
        EDGES,
    ),
    ("n[b, k] // n[b, 0] <= n[b, q] % n[b, 0] * n[b, k]", "s", EDGES),
]
CODE = """
import sys
import torch, flashgen
from flashgen.driver import lower_spec
from flashgen.verify.oracle import oracle
from flashgen.verify.run import generated
from tests.emit.test_ints import CASES, ints, spec

for i, (mask, score, n) in enumerate(CASES):
    for nq, nk in [((37, 50), (50, 37))[i % 2]]:
        g = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, 1, x, 16, generator=g) for x in (nq, nk, nk))
        inputs = {"n": ints(n, g)} if n else {}
        made = spec(mask, score, n)
        got = generated((32, 16), interpreted=True)(made, q, k, v, inputs)
        for a, b in zip(got, oracle(made, q, k, v, inputs)):
            try:
                torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
            except AssertionError as e:
                print(mask, score, nq, nk, e, file=sys.stderr)
                sys.exit(1)
"""


def spec(mask: str, score: str, n: list[Any]) -> AttentionSpec:
    shape = ["batch", 50] if n and isinstance(n[0], tuple) else ["batch"]
    inputs = {"n": {"shape": shape, "dtype": "int"}} if n else {}
    return AttentionSpec(name="ints", head_dim=16, mask=mask, score=score, inputs=inputs)


def ints(n: list[Any], g: torch.Generator) -> torch.Tensor:
    """The values of the input ``n``."""
    rows = [x if isinstance(x, int) else torch.randint(x[0], x[0] + x[1], (50,), generator=g) for x in n]
    return torch.stack([torch.as_tensor(r) for r in rows])


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


def test_only_what_may_leave_32_bits_is_computed_in_64() -> None:
    text = source(program("padded")).text
    assert "length_b = tl.load(length_ptr + b.to(tl.int64) * stride_length_b).to(tl.int32)\n" in text
    assert "tl.cast(length_b, tl.int64)" not in text
    text = source(lower_spec(spec("k < n[b] - 1", "s", [3])).program).text
    assert "= tl.cast(n_b, tl.int64) - 1\n" in text
