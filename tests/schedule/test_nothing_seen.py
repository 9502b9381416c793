"""Masks that are false wherever one looks, without a proof at hand when the spec was read: out is 0, lse is
-inf and every gradient is 0, whatever the schedule and the backend."""

from __future__ import annotations

from typing import Any

import pytest

import flashgen
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.ir.live import live
from flashgen.ir.program import Fence, Loop, Store, statements
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.verify import check, check_gradients
from flashgen.verify.case import Case

DOC = {"doc": {"shape": ["batch", "seqlen_k"], "dtype": "int"}}
LEARNED = {
    "table": {"shape": [17], "grad": True},
    "slopes": {"shape": ["heads"], "grad": True},
    "shift": {"shape": ["seqlen_k"], "grad": True},
    "bias": {"shape": ["seqlen_q", "seqlen_k"], "grad": True},
}
SPECS: dict[str, dict[str, Any]] = {
    "clipped": {"mask": "clip(doc[b, k], 3, 70) < 1", "inputs": DOC},
    "quotient": {"mask": "causal & (1 // -3 >= 0)"},
    "sink": {"mask": "causal & (1 // -3 >= 0)", "sink": "slopes[h]", "inputs": {"slopes": LEARNED["slopes"]}},
    "learned": {
        "mask": "causal & (1 // -3 >= 0)",
        "score": "s + table[clip(q - k, 0, 16)] + slopes[h] * k + shift[k] + bias[q, k]",
        "inputs": LEARNED,
        "dropout": 0.25,
    },
}
BACKWARDS = [name for name in SCHEDULES if name.endswith("backward")]
FORWARDS = [name for name in SCHEDULES if "backward" not in name]
CASE = Case(2, 4, 2, 20, 37, "fp32", tile=(16, 16))


def spec(name: str) -> flashgen.AttentionSpec:
    return flashgen.AttentionSpec(name="nothing", head_dim=16, **SPECS[name])


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_loop_visits_pairs(name: str, schedule: str) -> None:
    kernels = lower_spec(spec(name), schedule).program.kernels
    visits = [s for k in kernels for s in statements(k.body) if isinstance(s, Loop) and s.mask != "all"]
    assert visits == []


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("schedule", FORWARDS)
def test_results_are_zero(name: str, schedule: str) -> None:
    assert check(spec(name), CASE, schedule=schedule) == []


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("schedule", BACKWARDS)
def test_gradients_are_zero(name: str, schedule: str) -> None:
    assert check_gradients(spec(name), CASE, schedule=schedule) == []


@pytest.mark.parametrize("name", ["clipped", "learned"])
def test_the_generated_kernels_say_so_too(name: str) -> None:
    pytest.importorskip("triton")
    assert check(spec(name), CASE, "triton-interpreted") == []
    assert check_gradients(spec(name), CASE, "triton-interpreted") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_it_is_planned_and_printed(name: str) -> None:
    attention = flashgen.compile(spec(name), "cpu")
    for schedule in ("flash2", "backward"):
        assert "def " in attention.source("h100", schedule=schedule).text


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_lasts_stays(schedule: str) -> None:
    """Once more, nothing goes; and no store of any kernel goes at all."""
    made = SCHEDULES[schedule](lower_spec(load_spec(gallery()["causal"])).ir)
    kept = live(made)
    assert live(kept) == kept
    for before, after in zip(made.kernels, kept.kernels, strict=True):
        for kind in (Store, Fence, Loop):
            assert sum(isinstance(s, kind) for s in statements(before.body)) == sum(
                isinstance(s, kind) for s in statements(after.body)
            )
