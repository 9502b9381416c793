"""Every algorithm computes the same: the schedules that nothing picks by itself, on random specs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import ROWS
from flashgen.verify import check, check_gradients
from flashgen.verify.case import Case
from flashgen.verify.specs import cases, specs

TILES = ((16, 16), (16, 64), (64, 16), (32, 32), (64, 128))
ALL = ("fp32", "fp16", "bf16", "fp64")
FORWARD = ("standard", "flash1")
#: What these forwards compute: algorithms of softmax.
OF = {"standard": ("softmax",), "flash1": ("softmax",)}
BACKWARD = ("standard_backward", "flash1_backward")
#: Keys past a length hold NaN and infinities.
PADDED = AttentionSpec(
    name="padded",
    head_dim=16,
    mask="k < length[b]",
    inputs={"length": {"shape": ["batch"], "dtype": "int"}},
)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", FORWARD)
@settings(max_examples=20)
@given(data=st.data())
def test_results_agree_with_the_oracle(schedule: str, data: st.DataObject) -> None:
    spec = data.draw(specs(ALL, training=True, rows=OF[schedule]))
    case = data.draw(cases(spec, ALL, 130, TILES))
    assert check(spec, case, schedule=schedule) == []


@pytest.mark.slow
@pytest.mark.parametrize("schedule", BACKWARD)
@settings(max_examples=12)
@given(data=st.data())
def test_gradients_agree_with_the_oracle(schedule: str, data: st.DataObject) -> None:
    spec = data.draw(specs(ALL, training=True))
    case = data.draw(cases(spec, ALL, 130, TILES))
    assert check_gradients(spec, case, schedule=schedule) == []


@pytest.mark.parametrize("schedule", [*FORWARD, *BACKWARD])
@settings(max_examples=4)
@given(data=st.data())
def test_the_interpreted_triton_kernels_agree_with_the_oracle(schedule: str, data: st.DataObject) -> None:
    pytest.importorskip("triton")
    spec = data.draw(specs(("fp32", "fp16"), training=True, rows=OF.get(schedule, ROWS)))
    case = data.draw(cases(spec, spec.dtypes, 70, TILES, 3))
    compare = check if schedule in FORWARD else check_gradients
    assert compare(spec, case, "triton-interpreted", schedule) == []


@pytest.mark.parametrize("schedule", [*FORWARD, *BACKWARD])
def test_padding_may_hold_anything(schedule: str) -> None:
    case = Case(2, 2, 1, 40, 70, "fp32", tile=(16, 32), poison=True)
    compare = check if schedule in FORWARD else check_gradients
    assert compare(PADDED, case, schedule=schedule) == []
