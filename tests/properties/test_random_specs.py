"""Random specs, random calls: the program agrees with the oracle, whatever the tiles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.expr.nodes import reads
from flashgen.verify import check
from flashgen.verify.oracle import truth
from flashgen.verify.probes import mask_bits
from flashgen.verify.run import program
from flashgen.verify.specs import cases, specs

TILES = ((16, 16), (16, 64), (64, 16), (32, 32), (64, 128))
ALL = ("fp32", "fp16", "bf16", "fp64")


@settings(max_examples=settings().max_examples * 2)
@given(st.data())
def test_the_program_agrees_with_the_oracle_on_every_tile_size(data: st.DataObject) -> None:
    spec = data.draw(specs(ALL))
    case = data.draw(cases(spec, ALL, 130, TILES))
    assert check(spec, case, program(case.tile)) == []


@given(st.data())
def test_what_a_user_calls_agrees_with_the_oracle(data: st.DataObject) -> None:
    spec = data.draw(specs(ALL))
    assert check(spec, data.draw(cases(spec, ALL, 300))) == []


@settings(max_examples=15)
@given(st.data())
def test_large_and_odd_head_dims(data: st.DataObject) -> None:
    spec = data.draw(specs(("fp32", "bf16"), wide=True))
    case = data.draw(cases(spec, spec.dtypes, 65, TILES))
    assert check(spec, case, program(case.tile)) == []


@pytest.mark.slow
@given(st.data())
def test_the_mask_comes_out_bit_by_bit(data: st.DataObject) -> None:
    spec = data.draw(specs(("fp32", "fp16"), rows=("softmax",)))  # whose lse counts the keys that a row sees
    used = {r.name for r in reads(spec.mask_expr)} if spec.mask_expr else set()
    spec = spec.replace(score="s", inputs={n: i.model_dump() for n, i in spec.inputs.items() if n in used})
    case = data.draw(cases(spec, spec.dtypes, 130, TILES))
    case_q, case_k, case_v, inputs = case.tensors(spec)
    seen, count = mask_bits(program(case.tile), spec, case)
    visible = truth(spec, case_q, case_k, case_v, inputs).visible
    assert seen.equal(visible)
    if case.seqlen_k:
        assert count.round().long().equal(visible.sum(-1))


@settings(max_examples=20)
@given(st.data())
def test_the_interpreted_triton_kernel_agrees_with_the_oracle(data: st.DataObject) -> None:
    pytest.importorskip("triton")
    spec = data.draw(specs(("fp32", "fp16")))
    tiles = ((16, 16), (32, 32), (16, 64), (64, 32), (64, 128))
    case = data.draw(cases(spec, spec.dtypes, 70, tiles, 3))
    assert check(spec, case, "triton-interpreted") == []
