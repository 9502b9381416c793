"""The public mask of a seed: the definition, whatever the seed is held in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import flashgen
from flashgen.verify.philox import keep_mask

SEEDS = [0, 1, 0xFFFFFFFF, 2**32, 2**40 + 12345, 2**63 - 1]


@pytest.mark.parametrize("shape", [(2, 3, 20, 37), (1, 1, 1, 1), (1, 2, 33, 16), (0, 3, 4, 4), (1, 1, 0, 5)])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_the_public_mask_is_the_definitions(shape: tuple[int, int, int, int], p: float) -> None:
    for seed in SEEDS:
        right = torch.from_numpy(keep_mask(seed, *shape, p))
        assert torch.equal(flashgen.keep_mask(seed, shape, p), right)
        assert torch.equal(flashgen.keep_mask(torch.tensor([seed]), shape, p), right)


@pytest.mark.parametrize("seed", [-1, -4, -(2**63), -(2**32)])
def test_a_negative_number_in_a_tensor_is_its_bits(seed: int) -> None:
    kept = flashgen.keep_mask(torch.tensor([seed]), (1, 2, 20, 37), 0.2)
    assert np.array_equal(kept.numpy(), keep_mask(seed, 1, 2, 20, 37, 0.2))
    assert np.array_equal(kept.numpy(), keep_mask(seed % 2**64, 1, 2, 20, 37, 0.2))


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((-1, (1, 1, 4, 4), 0.1), r"seed is -1; expected 0 <= seed < 2\*\*63"),
        ((1, (4, 4), 0.1), r"shape is \(4, 4\); expected \(batch, heads, seqlen_q, seqlen_k\)"),
        ((1, (1, 1, 4, 4), 1.0), r"p is 1.0: a drop probability lies in \[0, 1\)"),
    ],
)
def test_what_is_no_mask_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(flashgen.TensorError, match=said):
        flashgen.keep_mask(*arguments)
