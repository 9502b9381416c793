"""Whatever the bytes, the loader gives a spec or a ``SpecError``: nothing else, nothing executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.errors import SpecError
from flashgen.spec import AttentionSpec, load_spec, load_text
from flashgen.spec.gallery import gallery
from flashgen.spec.load import character_at
from flashgen.spec.yamltree import Mapping, Scalar, read

TEXTS = [path.read_text(encoding="utf-8") for path in gallery().values()]
PIECES = [
    *"name: head_dim: heads: {q: 8, kv: 4} dtypes: [fp16] scale: score: mask: constants: inputs:".split(),
    *"shape: [heads] s + causal & | ~ window(1,0) a[h] - ? : , [ ] { } # ' \" & * ! % @ ` > --- ...".split(),
    *"<< 010 no .inf \\ \\x4 \\U00110000 %YAML &a *a !!int 0 64 é <one> <dims>".split(),
    *("\t", "\n", " ", "\n  ", ": ", "\u2028", "\x85", "\ufeff", "\x00", "\x1b", "\ud800"),
]


def outcome(text: str) -> None:
    """Load ``text``; when it is refused, every place must exist in it."""
    try:
        load_text(text, file="fuzz.yaml")
        return
    except SpecError as error:
        problems = error.problems
    assert problems
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for place, said in problems:
        assert said
        assert place.line is not None
        assert place.column is not None
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1


@given(st.text(st.characters(codec=None), max_size=80))
def test_any_text(text: str) -> None:
    outcome(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_mix_of_yaml(text: str) -> None:
    outcome(text)
    outcome(f"name: a\nhead_dim: 64\n{text}")


@given(st.data(), st.sampled_from(TEXTS))
def test_any_damage_to_a_good_file(data: st.DataObject, text: str) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from([*PIECES, ""])) + text[at + gone :]
    outcome(text)


@given(data=st.binary(max_size=60))
def test_any_bytes(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError):
        load_spec(path)


KEYS = st.sampled_from("q kv qk v a1 s shape dtype grad".split()) | st.text(max_size=4)
FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(AttentionSpec.model_fields)), FIELDS, max_size=6))
def test_any_fields(fields: dict[str, object]) -> None:
    try:
        spec = AttentionSpec(**{"name": "a", "head_dim": 64, **fields})
    except SpecError:
        return
    assert AttentionSpec.from_json(spec.canonical_json()) == spec


VALUES = st.text("ab'\"\\ \n:#é", min_size=1, max_size=12).filter(lambda t: t.strip() == t)


@given(VALUES)
def test_every_character_of_a_value_is_found_again(value: str) -> None:
    for written in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        text = f"name:   {written} # end\n"
        root = read(text).root
        assert isinstance(root, Mapping)
        node = root.items[0][1]
        assert isinstance(node, Scalar)
        assert node.value == value
        for i, character in enumerate(value):
            if character.isspace():
                continue
            at = character_at(text, node, i)
            assert text[at] in (character, "\\")


@given(VALUES.filter(lambda t: "\n" not in t))
def test_every_character_of_a_single_quoted_value_is_found_again(value: str) -> None:
    text = "name: '" + value.replace("'", "''") + "'\n"
    root = read(text).root
    assert isinstance(root, Mapping)
    node = root.items[0][1]
    assert isinstance(node, Scalar)
    assert node.value == value
    assert all(text[character_at(text, node, i)] == c for i, c in enumerate(value) if not c.isspace())


ATTACKS = [
    "__import__('os').system('touch pwned')", "s.__class__", "().__class__.__bases__", "lambda: s",
    "(lambda x: x)(s)", "[s for s in k]", "{s: k}", "s if causal else k", "exec('1')", "eval(s)",
    "open('x')", "getattr(s, k)", "s; import os", "import os", "s := 1", "f'{s}'", "'s' * 9", "b''",
    "9**9**9**9", "10**1000000", "s**s**s", "1e999999", "s" + " + s" * 5000, "(" * 4000 + "s" + ")" * 4000,
    "-" * 5000 + "s", "ѕ", "ｓ", "s\u200b", "s\x00", "\\x73", "s[0]", "window", "window(1)", "s(1)",
    "await s", "yield s", "*s", "**s", "s,", "s @ s", "s << 9999999", "s ? k : q", "{{ s }}", "{% s %}",
    "s # k\n; k",
    "...", "None", "self", "tl.load(s)", "torch", "s\\\n", "0x10", "1_0", "1j",
    "s is s", "s and s", "not s", "s in k",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_is_refused_at_its_place(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for field in ("score", "mask"):
        with pytest.raises(SpecError) as caught:
            load_text(f"name: a\nhead_dim: 64\n{field}: {json.dumps(attack)}\n", file="x.yaml")
        assert [place.line for place, _ in caught.value.problems] == [3]
        assert len(str(caught.value)) < 400
    assert list(tmp_path.iterdir()) == []
