"""Two halves of the keys, each attended to alone, merge into the whole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import pytest
import torch
from torch import Tensor

from flashgen.driver import lower_spec
from flashgen.interpret import run as interpret
from flashgen.spec.model import AttentionSpec
from tests.rows.merging import merging

SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}
#: Rows see nothing in one half or in both: of 37 rows, the first have no key.
SHARES = {
    "by parity": ("k % 2 == 0", "k % 2 == 1"),
    "at a place": ("k < 11", "k >= 11"),
    "in three": ("k < 3", "(k >= 3) & (k < 30)", "k >= 30"),
}


def results(spec: AttentionSpec, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return interpret.run(lower_spec(spec).program, SIDES, given, check=True)


@pytest.mark.parametrize("row", ["softmax", "sigmoid"])
@pytest.mark.parametrize("score", ["s - log(Nk)", "s + bias[q, k]"])
@pytest.mark.parametrize("share", SHARES)
def test_parts_are_the_whole(row: str, score: str, share: str) -> None:
    bias = {"bias": {"shape": ["seqlen_q", "seqlen_k"]}} if "bias" in score else {}
    whole = AttentionSpec(
        name="whole", head_dim={"qk": 16, "v": 40}, row=row, score=score, mask="causal", inputs=bias
    )
    gen = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=gen, dtype=torch.float64)

    given = {"q": normal(2, 4, 37, 16), "k": normal(2, 2, 33, 16), "v": normal(2, 2, 33, 40)}
    if bias:
        given["bias"] = 1e3 * normal(37, 33)  # which may be large: then lse has two parts
    parts = [results(whole.replace(mask=f"causal & ({m})"), given) for m in SHARES[share]]
    program = merging(lower_spec(whole).ir, len(parts))
    stacked = {f"{name}_parts": torch.stack([p[name] for p in parts]) for name in parts[0]}
    found = interpret.run(program, SIDES, {"q": given["q"], "k": given["k"], **stacked}, check=True)
    expected = results(whole, given)
    assert (
        set(found)
        == set(expected)
        == ({"o"} if row == "sigmoid" else {"o", "lse"} | ({"lse_lo"} if bias else set()))
    )
    for name in expected.keys() - {"lse_lo"}:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-12)
    if "lse" in found:
        assert (found["lse"] == -torch.inf).any(), "a row that saw nothing in any part"


def test_a_sigmoid_merges_by_a_sum() -> None:
    spec = AttentionSpec(name="whole", head_dim=16, row="sigmoid")
    given = {name: torch.randn(1, 1, 20, 16) for name in "qkv"}
    halves = [results(spec.replace(mask=m), given)["o"] for m in SHARES["by parity"]]
    torch.testing.assert_close(reduce(torch.add, halves), results(spec, given)["o"])
