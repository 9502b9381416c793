"""The gallery's files are sound, say where they come from, and match the schema that editors use."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from ruamel.yaml import YAML

from flashgen.errors import SpecError
from flashgen.expr.evaluate import evaluate_python
from flashgen.resources import folder
from flashgen.spec import AttentionSpec, load_spec
from flashgen.spec.advice import advice
from flashgen.spec.gallery import find, gallery
from flashgen.spec.model import LATER
from flashgen.spec.schema import json_schema, schema_text

NAMES = list(gallery())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_sound_and_named_after_its_spec(name: str) -> None:
    text = gallery()[name].read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    spec = load_spec(gallery()[name])
    assert spec.name == name
    assert spec.description
    assert spec.source
    assert advice(spec) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_matches_the_schema(name: str) -> None:
    data = YAML(typ="safe", pure=True).load(gallery()[name])
    jsonschema.Draft202012Validator(json_schema()).validate(data)


def test_the_schema_is_a_schema_and_is_not_stale() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    written = json.loads((folder("specs") / "schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(schema_text()), "stale: flashgen schema -o specs/schema.json"


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": 100},
        {"head_dim": {"qk": 64}},
        {"name": "A"},
        {"extra": 1},
        {"dtypes": ["fp8"]},
        {"dtypes": []},
        {"inputs": {"a1": {"shape": ["rows"]}}},
        {"inputs": {"a b": {"shape": ["heads"]}}},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": "0.1"},
        {"sink": 0.0},
        {"row": "relu"},
        {"row": None},
        {"sink": "x" * 5000},
        {"backward": 1},
        {"inputs": {"a1": {"shape": ["heads"], "grad": "yes"}}},
        {"packed": True},
        {"scale": "1"},
        {"tf32": 1},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(change: dict[str, object]) -> None:
    data = {"name": "a", "head_dim": 64, **change}
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(data)
    with pytest.raises(SpecError):
        AttentionSpec(**data)


def test_the_readme_describes_every_field() -> None:
    text = (folder("specs").parent / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- fields -->")[2].partition("<!-- end -->")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[: row.find("|", 1)])}
    assert named == set(AttentionSpec.model_fields) - set(LATER)


def test_the_schema_describes_every_field() -> None:
    for name, field in json_schema()["properties"].items():
        assert field.get("description"), name
    json.dumps(json_schema())


@pytest.mark.parametrize(
    "name, nq, nk, visible",
    [
        ("causal", 2, 3, "##. ###"),
        ("causal", 3, 2, ".. #. ##"),
        ("causal_top_left", 2, 3, "#.. ##."),
        ("full", 1, 2, None),
    ],
)
def test_alignment(name: str, nq: int, nk: int, visible: str | None) -> None:
    mask = load_spec(gallery()[name]).mask_expr
    if visible is None or mask is None:
        assert visible is None
        assert mask is None
        return
    rows = [
        "".join(".#"[bool(evaluate_python(mask, {"q": q, "k": k, "qpos": q + nk - nq}))] for k in range(nk))
        for q in range(nq)
    ]
    assert " ".join(rows) == visible


@pytest.mark.parametrize(
    "name, qpos, sees, hides",
    [
        ("sliding_window", 5000, [5000, 3977], [5001, 3976]),
        ("gemma2_local", 5000, [5000, 905], [5001, 904]),
        ("gpt_oss", 5000, [5000, 4873], [5001, 4872]),
        ("window_with_sinks", 5000, [0, 3, 3981, 5000], [4, 3980, 5001]),
        ("window_with_sinks", 1, [0, 1], [2, 3]),
        ("chunked", 8195, [8192, 8195], [8191, 8196]),
        ("dilated", 5000, [5000, 4998, 3978], [4999, 3976, 5002]),
    ],
)
def test_edges_of_windows(name: str, qpos: int, sees: list[int], hides: list[int]) -> None:
    mask = load_spec(gallery()[name]).mask_expr
    assert mask is not None
    for k in sees + hides:
        at = {"q": qpos, "qpos": qpos, "k": k, "Nq": 9000, "Nk": 9000}
        assert bool(evaluate_python(mask, at)) == (k in sees), k


def test_what_the_gallery_learns() -> None:
    specs = {name: load_spec(path) for name, path in gallery().items()}
    learned = {n: [i for i, t in s.inputs.items() if t.grad] for n, s in specs.items()}
    assert {n: names for n, names in learned.items() if names} == {
        "alibi": ["slopes"],
        "evoformer": ["pair"],
        "gpt_oss": ["sinks"],
        "swin_v2": ["log_scale", "bias"],
        "t5_bias": ["table"],
    }
    assert {n: s.dropout for n, s in specs.items() if s.dropout} == {"gpt2": 0.1}
    assert {n: s.row for n, s in specs.items() if s.row != "softmax"} == {"sigmoid_attention": "sigmoid"}
    assert {n: s.sink for n, s in specs.items() if s.sink} == {"gpt_oss": "sinks[h]"}


def test_a_spec_is_found_by_name_or_path() -> None:
    first = NAMES[0]
    assert find(first) == gallery()[first] == find(gallery()[first])
    with pytest.raises(SpecError, match=f"did you mean `{first}`"):
        find(first + "x")
