"""``AttentionSpec`` as Python sees it: frozen, whole, and equal to what its JSON says."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from flashgen.errors import SpecError
from flashgen.spec import AttentionSpec, HeadDims, InputSpec
from flashgen.spec.model import LATER

ALIBI = AttentionSpec(
    name="mine",
    head_dim=64,
    score="s + slopes[h]*(k - qpos)",
    mask="window(left, 0)",
    constants={"left": 7, "flag": True, "cap": 1.0},
    inputs={"slopes": {"shape": ["heads"]}, "bias": InputSpec(shape=("heads", 32), dtype="int")},
)


def test_the_defaults() -> None:
    spec = AttentionSpec(name="plain", head_dim=64)
    assert (spec.d_qk, spec.d_v, spec.scale, spec.mask_expr, spec.heads) == (64, 64, None, None, None)
    assert spec.score_expr.type == "float"
    assert AttentionSpec(name="two", head_dim={"qk": 192, "v": 128}).head_dim == HeadDims(qk=192, v=128)


def test_json_and_back() -> None:
    text = ALIBI.canonical_json()
    again = AttentionSpec.from_json(text)
    assert again == ALIBI
    assert again.canonical_json() == text
    assert hash(again) == hash(ALIBI)
    assert list(again.inputs) == ["slopes", "bias"]
    assert [type(v) for v in again.constants.values()] == [int, bool, float]
    assert pickle.loads(pickle.dumps(ALIBI)) == ALIBI
    assert "\n" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"constants": {"left": 8, "flag": True, "cap": 1.0}},
        {"constants": {"left": 7.0, "flag": True, "cap": 1.0}, "mask": None},
        {"constants": {"left": 7, "flag": 1, "cap": 1.0}},
        {"score": "s + slopes[h]*(k - q)"},
        {"head_dim": 72},
        {"scale": 0.125},
        {"tf32": True},
        {"outputs": ("out",)},
    ],
)
def test_specs_that_differ_have_different_json(change: dict[str, object]) -> None:
    assert ALIBI.replace(**change).canonical_json() != ALIBI.canonical_json()
    assert ALIBI.model_copy(update=change) == ALIBI.replace(**change)


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ALIBI.score = "s"  # type: ignore[misc]
    with pytest.raises(TypeError, match="frozen"):
        ALIBI.constants["left"] = 9
    with pytest.raises(TypeError, match="frozen"):
        ALIBI.inputs.clear()


def test_changes_are_checked() -> None:
    for change in ({"score": "s + oops"}, {"head_dim": 7}):
        with pytest.raises(SpecError):
            ALIBI.replace(**change)
        with pytest.raises(SpecError):
            ALIBI.model_copy(update=change)


def test_problems_from_python_name_the_field() -> None:
    with pytest.raises(SpecError) as caught:
        AttentionSpec(name="x y", head_dim=64, score="s + oops", inputs={"a1": {"shape": ["rows"]}})
    assert [place.field for place, _ in caught.value.problems] == [
        "inputs.a1.shape[0]", "name", "score, character 5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given, said",
    [
        ("mine", "by name, got 'mine': write AttentionSpec(name="),
        ({"name": "mine", "head_dim": 64}, "by name, got a mapping: write AttentionSpec(**fields)"),
    ],
)
def test_fields_are_given_by_name(given: object, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        AttentionSpec(given)  # type: ignore[call-arg]
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"name": 3}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        AttentionSpec.from_json(text)


@pytest.mark.parametrize("field", LATER)
def test_fields_of_later_work_are_refused_by_name(field: str) -> None:
    with pytest.raises(SpecError, match="not implemented yet"):
        AttentionSpec(name="a", head_dim=64, **{field: True})
    AttentionSpec(name="a", head_dim=64, **{field: None})


@pytest.mark.parametrize(
    "value", [None, 3, "a", [1], {"a": 1}, float("nan"), 10**400, object(), b"x", {1: 2}]
)
@pytest.mark.parametrize("field", sorted(set(AttentionSpec.model_fields) - set(LATER)))
def test_any_value_in_any_field_is_a_spec_or_a_spec_error(field: str, value: object) -> None:
    try:
        AttentionSpec(**{"name": "a", "head_dim": 64, field: value})
    except SpecError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(place.field and said for place, said in problems)


def test_importing_the_spec_is_light() -> None:
    code = "import sys, flashgen.spec, flashgen.spec.schema, flashgen.spec.gallery, flashgen.spec.advice\n"
    code += "print([m for m in ('torch', 'triton', 'sympy', 'numpy', 'jinja2') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
