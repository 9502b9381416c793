"""A spec written out: its signature and ``repr`` read well, and both Python and YAML give it back."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.spec import AttentionSpec, load_spec, load_text
from flashgen.spec.gallery import gallery
from flashgen.spec.model import LATER, HeadDims, Heads, InputSpec

FULL = AttentionSpec(
    name="mine",
    description='yes: "no"\n# not a comment',
    head_dim={"qk": 192, "v": 128},
    heads={"q": 8, "kv": 2},
    dtypes=("bf16", "fp32"),
    scale=1e-05,
    score="softcap(s + slopes[h], cap)",
    mask="(k < 4) | keep[b, k]",
    constants={"cap": 30.0, "left": 7, "flag": True},
    inputs={
        "slopes": {"shape": ["heads"], "grad": True},
        "keep": {"shape": ["batch", "seqlen_k"], "dtype": "bool"},
    },
    dropout=0.25,
)


def test_the_signature_is_fields_with_plain_types_and_defaults() -> None:
    said = str(inspect.signature(AttentionSpec))
    assert len(said) < 800
    assert "validator" not in said.lower()
    assert said.startswith("(*, name: str, description: str = '', source: str = '', head_dim: int | ")
    assert "dropout: float = 0.0, tf32: bool = False, backward: bool = True)" in said
    assert set(inspect.signature(AttentionSpec).parameters) == set(AttentionSpec.model_fields) - set(LATER)
    assert "kv: int" in str(inspect.signature(Heads))
    assert "v: int" in str(inspect.signature(HeadDims))
    assert "grad: bool = False" in str(inspect.signature(InputSpec))
    assert "BeforeValidator(" not in pydoc.plain(pydoc.render_doc(AttentionSpec))


def test_repr_shows_what_was_set() -> None:
    assert repr(AttentionSpec(name="a", head_dim=64, mask="causal")) == (
        "AttentionSpec(name='a', head_dim=64, mask='causal')"
    )
    assert repr(AttentionSpec.from_json(FULL.canonical_json())) == repr(FULL)
    assert repr(FULL.inputs["slopes"]) == "InputSpec(shape=['heads'], grad=True)"


@pytest.mark.parametrize("spec", [FULL, *map(load_spec, gallery().values())], ids=lambda s: s.name)
def test_python_and_yaml_give_it_back(spec: AttentionSpec) -> None:
    assert eval(repr(spec), {"AttentionSpec": AttentionSpec}) == spec
    assert load_text(spec.to_yaml()) == spec


def test_yaml_is_as_a_person_writes_it() -> None:
    assert FULL.to_yaml().splitlines()[2:] == [
        "head_dim: {qk: 192, v: 128}",
        "heads: {q: 8, kv: 2}",
        "dtypes: [bf16, fp32]",
        "scale: 1e-05",
        "score: softcap(s + slopes[h], cap)",
        "mask: (k < 4) | keep[b, k]",
        "constants:",
        "  cap: 30.0",
        "  left: 7",
        "  flag: true",
        "inputs:",
        "  slopes: {shape: [heads], grad: true}",
        "  keep: {shape: [batch, seqlen_k], dtype: bool}",
        "dropout: 0.25",
    ]


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \n\t"), max_size=30),
    st.sampled_from(
        ["yes", "null", "~", "012", "1.0", "- a", "a: b", "a #b", "'", '"', "*a", "&a", "{", " x"]
    ),
)


@given(TEXTS, TEXTS, st.floats(1e-30, 1e30), st.integers(-(2**31) + 1, 2**31 - 1))
def test_any_text_and_number_comes_back(description: str, source: str, cap: float, left: int) -> None:
    fields: dict[str, Any] = {"constants": {"cap": cap, "left": left}, "scale": cap}
    spec = AttentionSpec(name="a", head_dim=8, description=description, source=source, **fields)
    assert load_text(spec.to_yaml()) == spec
