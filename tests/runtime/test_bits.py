"""Masks packed into words, and conditions compared with conditions: each backend as the oracle and as plain
Python."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import flashgen
from flashgen.driver import lower_spec
from flashgen.ir.dump import dump
from flashgen.verify import check, check_gradients
from flashgen.verify.case import Case

ROWS = {"shape": ["batch", "seqlen_q"], "dtype": "int"}
KEYS = {"shape": ["batch", "seqlen_k"], "dtype": "int"}
MASKS: dict[str, dict[str, Any]] = {
    "(w[b, k] >> n[b, q]) & 1 == 1": {"w": KEYS, "n": ROWS},
    "w[b, k] >> 9 * n[b, q] - 4 != 1": {"w": KEYS, "n": ROWS},  # counts below 0 and above 31
    "1 << 9 * n[b, q] - 4 > w[b, k]": {"w": KEYS, "n": ROWS},
    "w[b, k] & n[b, q] != 0": {"w": KEYS, "n": ROWS},
    "(w[b, k] ^ n[b, q]) < (w[b, k] | 2)": {"w": KEYS, "n": ROWS},
    "(~w[b, k]) & 3 > n[b, q] & 1": {"w": KEYS, "n": ROWS},
    "(q >> 2) == (k >> 2)": {},
    "causal == (k & 3 != 1)": {},
    "causal ^ (h == 1) ^ window(3, 3)": {},
    "keep[b, k] != (q < 9)": {"keep": {**KEYS, "dtype": "bool"}},
}
CASE = Case(2, 2, 2, 20, 37, "fp32", tile=(16, 16))


def spec(mask: str) -> flashgen.AttentionSpec:
    return flashgen.AttentionSpec(name="bits", head_dim=16, mask=mask, inputs=MASKS[mask])


@pytest.mark.parametrize("mask", MASKS)
def test_the_tile_program_agrees_with_the_oracle(mask: str) -> None:
    assert check(spec(mask), CASE) == []
    assert check_gradients(spec(mask), CASE) == []


@pytest.mark.parametrize("mask", MASKS)
def test_the_generated_kernel_agrees_with_the_oracle(mask: str) -> None:
    pytest.importorskip("triton")
    assert check(spec(mask), CASE, "triton-interpreted") == []


def test_packed_words() -> None:
    """One bit a pair, 30 of them in a word."""
    b, nq, nk = 2, 21, 70
    torch.manual_seed(0)
    seen = torch.rand(b, nq, nk) < 0.4
    words = torch.zeros(b, nq, 3, dtype=torch.int32)
    for k in range(nk):
        words[:, :, k // 30] |= seen[:, :, k].int() << k % 30
    attention = flashgen.compile(
        flashgen.AttentionSpec(
            name="packed_words",
            head_dim=16,
            mask="words[b, q, k // 30] >> (k % 30) & 1 == 1",
            inputs={"words": {"shape": ["batch", "seqlen_q", 3], "dtype": "int"}},
        )
    )
    q, k_, v = (torch.randn(b, 2, n, 16) for n in (nq, nk, nk))
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k_, v, attn_mask=seen[:, None])
    torch.testing.assert_close(attention(q, k_, v, words=words), wanted, rtol=1e-4, atol=1e-5)


def test_shifts_by_literals_have_bounds() -> None:
    """``x >> 5`` is a quotient, so a mask of chunks written with it skips tiles as one with ``//`` does."""
    shifted, divided = (
        flashgen.AttentionSpec(name="chunks", head_dim=16, mask=mask)
        for mask in ("causal & (k >> 8 == qpos >> 8)", "causal & (k // 256 == qpos // 256)")
    )
    assert dump(lower_spec(shifted).program) == dump(lower_spec(divided).program)
