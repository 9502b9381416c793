"""Large scores are drawn, honest programs pass, and one that takes all scores for moderate does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from flashgen.interpret.run import run
from flashgen.ir.attention import lower
from flashgen.schedule.backward import backward
from flashgen.schedule.flash2 import flash2
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, check_gradients
from flashgen.verify.case import added_input
from flashgen.verify.inputs import DISTRIBUTIONS
from flashgen.verify.plain import plain_results

PAIRS = {"shape": ["heads", "seqlen_q", "seqlen_k"], "grad": True}
BIASED = AttentionSpec(name="biased", head_dim=16, score="s + bias[h, q, k]", inputs={"bias": PAIRS})
SUNK = AttentionSpec(
    name="sunk", head_dim=16, sink="sinks[h]", inputs={"sinks": {"shape": ["heads"], "grad": True}}
)
DROPPED = BIASED.replace(dropout=0.25, mask="causal")
SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}


def case(distribution: str, dtype: str = "fp32", seed: int = 0) -> Case:
    return Case(
        1, 7, 7, 9, 20, dtype, distribution, tile=(16, 16), through="both", seed=seed, dropout=3, large=True
    )


@pytest.mark.parametrize("spec", [BIASED, SUNK, DROPPED], ids=["bias", "sink", "dropout"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_honest_programs_pass(spec: AttentionSpec, distribution: str) -> None:
    for dtype in ("fp32", "bf16", "fp64"):
        some = case(distribution, dtype, seed=len(distribution))
        assert check(spec, some) == []
        assert check_gradients(spec, some) == []


def moderate(spec: AttentionSpec) -> Any:
    return replace(lower(spec), large_score=False, large_sink=False)


def forward_of_moderate(
    spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    found = run(flash2(moderate(spec)), SIDES, {"q": q, "k": k, "v": v, **inputs})
    return found["o"], found["lse"]


def backward_of_moderate(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    do: Tensor,
    dlse: Tensor,
) -> dict[str, Tensor]:
    o, lse, _ = plain_results(spec, q, k, v, inputs)
    given = {"q": q, "k": k, "v": v, **inputs, "o": o, "lse": lse, "do": do, "dlse": dlse}
    return run(backward(moderate(spec), through="lse"), SIDES, given)


@pytest.mark.parametrize("spec", [BIASED, SUNK], ids=["bias", "sink"])
def test_dishonest_ones_do_not(spec: AttentionSpec) -> None:
    some = case("zero_q", seed=0 if spec is BIASED else 5)
    assert {f.tensor for f in check(spec, some, forward_of_moderate)} == {"out", "lse"}
    wrong = {f.tensor for f in check_gradients(spec, some, backward_of_moderate)}
    assert wrong >= ({"dv", "dbias"} if spec is BIASED else {"dsinks"})


def test_an_input_that_is_added_once_may_be_large() -> None:
    scores = {
        "s + bias[h, q, k]": "bias",
        "-(s - bias[h, q, k])": "bias",
        "s * bias[h, q, k]": None,
        "s + bias[h, q, k] - bias[h, q, 0]": None,
        "softcap(s + bias[h, q, k], 9.0)": None,
    }
    assert {text: added_input(BIASED.replace(score=text)) for text in scores} == scores
