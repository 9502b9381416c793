"""Fields of training: dropout, sinks, learned inputs. What is refused, where, and with which advice."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flashgen.driver import lower_spec
from flashgen.errors import SpecError
from flashgen.expr.derive import NoDerivative
from flashgen.spec import AttentionSpec, load_text
from flashgen.spec.advice import advice

from .test_load import GOOD, problems

HEADS = "inputs: {a1: {shape: [heads]}}\n"
LEARNED = "inputs:\n  a1: {shape: [heads], grad: true}\n"

ONE_PROBLEM = {
    # text after GOOD: line, column, what the message says
    "dropout: 1.0\n": (3, 10, "from 0 up to but not 1, got 1.0; 0.1 drops a tenth"),
    "dropout: -0.1\n": (3, 10, "from 0 up to but not 1, got -0.1"),
    "dropout: 10\n": (3, 10, "from 0 up to but not 1, got 10"),
    "dropout: .nan\n": (3, 10, "finite"),
    "dropout: .inf\n": (3, 10, "finite"),
    'dropout: "0.1"\n': (3, 10, "got '0.1': write 0.1"),
    "dropout: high\n": (3, 10, "from 0 up to but not 1, got 'high'; 0.1 drops a tenth"),
    "dropout: 10%\n": (3, 10, "from 0 up to but not 1, got '10%'"),
    "dropout: true\n": (3, 10, "from 0 up to but not 1, got true"),
    "dropout:\n": (3, 8, "from 0 up to but not 1, got nothing"),
    "backward: 0\n": (3, 11, "expected true or false, got 0"),
    "sink: 0.0\n": (3, 7, "got 0.0: put it in quotes"),
    "sink: h > 3\n": (3, 7, "a number is wanted here"),
    "sink: s\n": (3, 7, "`s` exists in scores only; a sink may read b, h, hkv, q, qpos, Nq, Nk"),
    "sink: exp(k)\n": (3, 11, "`k` exists in scores and masks only; a sink may read b, h, hkv, q, qpos"),
    "sink: a1[k]\n" + HEADS: (3, 10, "`k` exists in scores and masks only"),
    "sink: causal\n": (3, 7, "`causal` uses `k`, which has no meaning here"),
    "sink: a1[q]\n" + HEADS: (3, 7, "use `h` there"),
    "sinks: a1[h]\n" + HEADS: (3, 1, "write `sink: sinks[h]`"),
    "score: s + a1[h]\n" + LEARNED.replace("true", "yes"): (5, 30, "write true, or 'yes'"),
    "score: s + a1[h]\n" + LEARNED.replace("]", "], dtype: int"): (5, 42, "only float inputs"),
    "mask: a1[h]\n" + LEARNED.replace("]", "], dtype: bool"): (5, 43, "only float inputs"),
    LEARNED: (4, 30, "nothing reads it; read it in the score or the sink, or leave `grad` out"),
    "mask: a1[h] > 0\n" + LEARNED: (5, 30, "only the mask reads it, and a mask chooses"),
    "score: s + my[floor(a1[h])]\n" + LEARNED + "  my: {shape: [9]}\n": (5, 30, "in a condition or an index"),
    "score: where(a1[h] > 0, s, 0)\n" + LEARNED: (5, 30, "in a condition or an index"),
    "score: s + int(a1[h] > a1[0])\n" + LEARNED: (5, 30, "in a condition or an index"),
    "score: s + floor(4 * a1[h]) / 4\n" + LEARNED: (5, 30, "`floor(4.0 * a1[h])` has no derivative"),
    "sink: a1[h] + floor(a1[h])\n" + LEARNED: (5, 30, "`floor(a1[h])` has no derivative; leave `grad` out"),
    "backward: false\nscore: s + a1[h]\n" + LEARNED: (6, 30, "`backward: false` refuses gradients"),
    "score: s + a1[abs(k - q)]\n" + LEARNED: (5, 30, "cannot be summed"),
    "score: s + floor(s)\n": (3, 12, "`floor(s)` has no derivative, and gradients of q and k need one"),
    "score: floor(s) + floor(2 * s)\n": (3, 8, "`backward: false` keeps the spec to inference"),
    "score: s + seed[h]\ninputs: {seed: {shape: [heads]}}\n": (4, 10, "`seed` is an argument of the call"),
    "score: s + training[h]\ninputs: {training: {shape: [heads]}}\n": (
        4,
        10,
        "`training` is an argument of the call",
    ),
    "score: s + return_lse[h]\ninputs: {return_lse: {shape: [heads]}}\n": (
        4,
        10,
        "`return_lse` is an argument of the call",
    ),
}


@pytest.mark.parametrize("text", ONE_PROBLEM)
def test_a_problem_has_a_place_and_a_remedy(text: str) -> None:
    line, column, part = ONE_PROBLEM[text]
    ((found_line, found_column, said),) = problems(GOOD + text)
    assert (found_line, found_column) == (line, column), said
    assert part in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-300, 1, 2**70, "1", None, True, [0.1]])
def test_a_rate_from_python_is_refused_like_one_from_a_file(value: Any) -> None:
    with pytest.raises(SpecError, match="dropout: expected a probability from 0 up to but not 1, got"):
        AttentionSpec(name="a", head_dim=64, dropout=value)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1e-12, 0.5, 1 - 2**-53])
def test_rates(value: float) -> None:
    spec = AttentionSpec(name="a", head_dim=64, dropout=value)
    assert type(spec.dropout) is float
    assert "-" not in str(spec.dropout).replace("e-", "")
    assert (spec == AttentionSpec(name="a", head_dim=64)) == (value == 0)
    assert AttentionSpec.from_json(spec.canonical_json()).dropout == spec.dropout


@pytest.mark.parametrize("field", ["mask: a1[h] > oops", "sink: a1[h] + oops", "score: s + a1[h] + oops"])
def test_a_learned_input_is_not_blamed_for_a_wrong_expression(field: str) -> None:
    ((line, column, _),) = problems(f"{GOOD}{field}\n{LEARNED}")
    assert (line, column) == (3, field.index("oops") + 1)


def test_problems_of_training_are_reported_together() -> None:
    text = f"{GOOD}dropout: 2.0\nsink: k\nscore: s + floor(s)\nmask: a1[h] > 0\n{LEARNED}"
    assert [p[:2] for p in problems(text)] == [(3, 10), (4, 7)]
    text = f"{GOOD}score: s + floor(s)\nmask: a1[h] > 0\n{LEARNED}"
    assert [p[:2] for p in problems(text)] == [(3, 12), (6, 30)]


def test_what_a_spec_can_learn() -> None:
    spec = load_text(
        f"{GOOD}dropout: 0.1\nscore: where(gate[h] > 0, s * a1[h], s) + table[h, t5_bucket(k - qpos)]\n"
        f"sink: sinks[h] - 0.01 * qpos\nmask: a1[h] < 100\n{LEARNED}  gate: {{shape: [heads]}}\n"
        "  table: {shape: [heads, 32], grad: true}\n  sinks: {shape: [heads], grad: true}\n"
    )
    assert spec.sink_expr is not None
    assert spec.sink_expr.type == "float"
    assert advice(spec) == []
    again = AttentionSpec.from_json(spec.canonical_json())
    assert again == spec
    unlearned = {**spec.inputs, "sinks": {"shape": ["heads"]}}
    for change in ({"dropout": 0.2}, {"inputs": unlearned}, {"inputs": unlearned, "sink": None}):
        assert spec.replace(**change) != spec


def test_without_backward_a_score_may_have_steps() -> None:
    assert not load_text(f"{GOOD}backward: false\nscore: floor(s)\n").backward


@pytest.mark.parametrize(
    "read, shape",
    [
        ("table[h, bucket[q, k]]", "[heads, 32]"),
        ("table[hkv, k - q + 400]", "[kv_heads, 801]"),
        ("table[b, h, q // 3, k // 3]", "[batch, heads, 9, 9]"),
    ],
)
def test_what_a_refusal_of_a_table_proposes_works(read: str, shape: str) -> None:
    bucket = "  bucket: {shape: [seqlen_q, seqlen_k], dtype: int}\n" if "bucket" in read else ""
    text = f"{GOOD}score: s + {read}\ninputs:\n{bucket}  table: {{shape: {shape}, grad: true}}\n"
    with pytest.raises(SpecError) as caught:
        load_text(text)
    found = re.search(r"`(inputs: .*)` and read `(.*)`", str(caught.value))
    assert found, str(caught.value)
    assert load_text(f"{GOOD}score: s + {found[2]}\n{found[1]}\n").inputs["table"].grad


SHAPES: dict[str, list[Any]] = {
    "[h]": ["heads"], "[k]": ["seqlen_k"], "[q, k]": ["seqlen_q", "seqlen_k"], "[k - q]": [9],
    "[h, q // 3]": ["heads", 9], "[q, k - 1]": ["seqlen_q", 9], "[b, k - qpos]": ["batch", 256],
    "[b, qpos - k]": ["batch", 257], "[k - q]  # any": ["seqlen_k"], "[q // 3, k // 3]": [9, 9],
    "[qpos, k]": ["seqlen_k", "seqlen_k"], "[qpos, h]": ["seqlen_k", "heads"], "[q, q]": ["seqlen_q", 4],
    "[k, k + 1]": [4, 4], "[hkv, q, k, b]": ["kv_heads", "seqlen_q", "seqlen_k", "batch"],
    "[k % 4, q % 4, q]": [4, 4, "seqlen_q"], "[k + q]": [256], "[k % 4, h, 0]": [4, "heads", 1],
}  # fmt: skip


@pytest.mark.parametrize("index", SHAPES)
def test_a_gradient_is_refused_here_or_made_there(index: str) -> None:
    """What the spec accepts the schedule can sum, and the spec refuses what it cannot."""
    fields: dict[str, Any] = {"name": "a", "head_dim": 16, "score": f"s + a1{index.split('#')[0].strip()}"}
    inputs = {"a1": {"shape": SHAPES[index], "grad": True}}
    try:
        spec = AttentionSpec(**fields, inputs=inputs)
    except SpecError:
        with pytest.raises(SpecError, match="cannot be summed"):
            AttentionSpec(**fields, inputs=inputs)
        spec = AttentionSpec(**fields, inputs={"a1": {"shape": SHAPES[index]}})
        dict.__setitem__(spec.inputs, "a1", spec.inputs["a1"].model_copy(update={"grad": True}))
        with pytest.raises(NoDerivative, match="cannot be summed"):
            lower_spec(spec, "backward")
        return
    for schedule in ("backward", "backward_lse"):
        lower_spec(spec, schedule)


ECHOES = {
    # what is wrong in a spec that reads a learned input too: what the only problem says
    "score: s * bad[h] + a1[h]\n" + LEARNED + "  bad: {shape: [head]}\n": "did you mean `heads`",
    "score: s * bad + a1[h]\nconstants: {bad: x}\n" + LEARNED: "expected a number",
    "sink: bad + a1[h]\nconstants: {bad: x}\n" + LEARNED: "expected a number",
    "score: 3\n" + LEARNED: "put it in quotes",
    "mask: true\n" + LEARNED: "leave the field out",
    "sink: 3\n" + LEARNED: "put it in quotes",
}


@pytest.mark.parametrize("text", ECHOES)
def test_no_error_is_the_echo_of_another(text: str) -> None:
    ((_, _, said),) = problems(GOOD + text)
    assert ECHOES[text] in said


def test_what_needs_no_expression_is_still_said() -> None:
    ints = LEARNED.replace("]", "], dtype: int")
    assert len(problems(GOOD + "score: s * bad + a1[h]\nconstants: {bad: x}\n" + ints)) == 2
