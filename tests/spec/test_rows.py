"""The field `row`: which row functions there are, what each refuses, and specs without it."""

from __future__ import annotations

import json

import pytest

from flashgen.driver import lower_spec
from flashgen.errors import SpecError
from flashgen.ir.attention import lower
from flashgen.rows import ROWS as CODE
from flashgen.rows import row_function
from flashgen.runtime.signature import signature
from flashgen.spec import AttentionSpec, load_text
from flashgen.spec.model import AttentionSpec as Model
from flashgen.spec.weights import ROWS, WEIGHTS
from flashgen.verify.meanings import MEANINGS

from .test_load import GOOD, problems

ALONE = "weights are divided by: here each pair is weighed by itself"
ONE_PROBLEM = {
    # text after GOOD: line, column, what the message says
    "row: relu\n": (3, 6, "expected one of softmax, sigmoid; got 'relu'"),
    "row: sigmoyd\n": (3, 6, "did you mean `sigmoid`?"),
    "row:\n": (3, 4, "expected one of softmax, sigmoid; got nothing"),
    "row: sigmoid\noutputs: [out, lse]\n": (
        4,
        10,
        f"lse is the logarithm of the sum that {ALONE}; write `outputs: [out]`, or `row: softmax`",
    ),
    'row: sigmoid\nsink: "0.5"\n': (
        4,
        7,
        f"a sink joins the sum that {ALONE}; leave `sink` out, or write `row: softmax`",
    ),
}


@pytest.mark.parametrize("text", ONE_PROBLEM)
def test_what_a_row_function_has_not_is_refused_at_its_place(text: str) -> None:
    line, column, said = ONE_PROBLEM[text]
    (found,) = problems(GOOD + text)
    assert said in found[2]
    assert found[:2] == (line, column)


def test_every_name_has_code_and_a_meaning() -> None:
    assert set(CODE) == set(ROWS) == set(WEIGHTS) == set(MEANINGS)
    assert ROWS[0] == "softmax" == Model.model_fields["row"].default


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("score", ["s", "s + bias[q, k]"])
@pytest.mark.parametrize("backward", [True, False])
def test_a_call_and_the_programs_agree_on_what_is_left_and_saved(
    row: str, score: str, backward: bool
) -> None:
    inputs = {"bias": {"shape": ["seqlen_q", "seqlen_k"]}} if "bias" in score else {}
    spec = AttentionSpec(name="a1", head_dim=16, row=row, score=score, inputs=inputs, backward=backward)
    sig, code = signature(spec.canonical_json()), row_function(lower(spec))
    assert sig.lse_parts == code.left
    assert sig.saved == code.saved
    assert lower_spec(spec).program.results == ("o", *code.left)
    assert spec.outputs == ("out", *WEIGHTS[spec.row].left)


def test_a_default_leaves_no_trace() -> None:
    """So that hashes of specs, and with them caches and headers, are what they were."""
    spec = AttentionSpec(name="a1", head_dim=64)
    assert "row" not in json.loads(spec.canonical_json())
    assert spec == AttentionSpec(name="a1", head_dim=64, row="softmax")
    other = spec.replace(row="sigmoid")
    assert json.loads(other.canonical_json())["row"] == "sigmoid"
    assert other != spec
    assert other.replace(row="softmax") == spec


def test_a_sigmoid_is_read_and_written() -> None:
    spec = load_text(GOOD + "row: sigmoid\n")
    assert spec.outputs == ("out",)
    assert AttentionSpec.from_json(spec.canonical_json()) == spec
    assert load_text(spec.to_yaml()) == spec
    assert "outputs" not in spec.to_yaml()
    with pytest.raises(SpecError, match="write `outputs:"):
        spec.replace(outputs=["lse"])
