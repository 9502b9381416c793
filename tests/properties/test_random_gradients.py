"""Random specs with sinks, dropout and learned inputs, random calls: gradients agree with the oracle's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.verify import check, check_gradients
from flashgen.verify.run import program, program_backward
from flashgen.verify.specs import cases, specs

TILES = ((16, 16), (16, 64), (64, 16), (32, 32), (64, 128))
ALL = ("fp32", "fp16", "bf16", "fp64")


@given(st.data())
def test_the_program_agrees_with_the_oracle_on_every_tile_size(data: st.DataObject) -> None:
    spec = data.draw(specs(ALL, training=True))
    case = data.draw(cases(spec, ALL, 130, TILES))
    assert check(spec, case, program(case.tile)) == []
    assert check_gradients(spec, case, program_backward(case.tile)) == []


@pytest.mark.slow
@settings(max_examples=15)
@given(st.data())
def test_what_a_user_calls_agrees_with_the_oracle(data: st.DataObject) -> None:
    spec = data.draw(specs(ALL, training=True))
    case = data.draw(cases(spec, ALL, 200))
    assert check(spec, case) == []
    assert check_gradients(spec, case) == []


@settings(max_examples=10)
@given(st.data())
def test_large_and_odd_head_dims(data: st.DataObject) -> None:
    spec = data.draw(specs(("fp32", "bf16"), wide=True, training=True))
    case = data.draw(cases(spec, spec.dtypes, 65, TILES))
    assert check_gradients(spec, case, program_backward(case.tile)) == []


@settings(max_examples=8)
@given(st.data())
def test_the_interpreted_triton_kernels_agree_with_the_oracle(data: st.DataObject) -> None:
    pytest.importorskip("triton")
    spec = data.draw(specs(("fp32", "fp16"), training=True))
    tiles = ((16, 16), (32, 32), (16, 64), (64, 32), (64, 128))
    case = data.draw(cases(spec, spec.dtypes, 70, tiles, 3))
    assert check(spec, case, "triton-interpreted") == []
    assert check_gradients(spec, case, "triton-interpreted") == []
