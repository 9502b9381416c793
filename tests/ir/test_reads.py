"""Reads of inputs in the interpreter: outside the tensor, and ints at the edge of their range."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flashgen.driver import lower_spec
from flashgen.interpret.run import run
from flashgen.spec.model import AttentionSpec
from flashgen.verify.oracle import oracle

SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}
TABLE = {"shape": [4]}
INDEX = {"shape": ["batch"], "dtype": "int"}


def equal_to_the_oracle(given: dict[str, torch.Tensor], **fields: Any) -> None:
    spec = AttentionSpec(name="reads", head_dim=16, **fields)
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, n, 16, generator=g) for n in (20, 40, 40))
    want, want_lse = oracle(spec, q, k, v, given)
    for check in (False, True):
        got = run(lower_spec(spec).program, SIDES, {"q": q, "k": k, "v": v, **given}, check=check)
        torch.testing.assert_close(got["o"].double(), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(got["lse"].double(), want_lse, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at", [(1, 9), (-1, 2), (4, 4)])
def test_a_scalar_index_outside_reads_zero(at: tuple[int, int]) -> None:
    inputs = {"table": torch.arange(4.0) + 1, "at": torch.tensor(at)}
    fields = {"score": "s * table[at[b]]", "inputs": {"table": TABLE, "at": INDEX}}
    equal_to_the_oracle(inputs, **fields)
    equal_to_the_oracle(inputs, mask="k < 3 + table[at[b]]", **fields)


def test_a_length_as_an_index_outside_reads_zero() -> None:
    inputs = {"table": torch.arange(4.0) + 1}
    equal_to_the_oracle(inputs, score="s + where(Nq < 4, table[Nq], 0.5)", inputs={"table": TABLE})
    equal_to_the_oracle(inputs, score="s * table[Nq]", inputs={"table": TABLE})


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_ints_do_not_wrap(dtype: torch.dtype) -> None:
    top = torch.iinfo(torch.int32).max
    inputs = {"left": torch.tensor([top, 3], dtype=dtype)}
    equal_to_the_oracle(inputs, mask="qpos - k <= left[b] + 1", inputs={"left": INDEX})
    equal_to_the_oracle(inputs, mask="k < left[b] + 1", inputs={"left": INDEX})


def test_products_of_ints_are_floats_where_a_float_is_wanted() -> None:
    """100000 ** 2 passes 32 bits."""
    inputs = {"far": torch.tensor([100_000, -100_000], dtype=torch.int32)}
    equal_to_the_oracle(inputs, score="s + 1e-10 * k * (far[b] * far[b])", inputs={"far": INDEX})
