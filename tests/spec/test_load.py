"""Every problem of a file is reported at its line and column, all at once, as ``SpecError``."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashgen.errors import SpecError
from flashgen.spec import AttentionSpec, load_spec, load_text
from flashgen.spec.plain import plain

GOOD = "name: good\nhead_dim: 64\n"


def problems(text: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(SpecError) as caught:
        load_text(text, file="x.yaml")
    assert all(place.file == "x.yaml" for place, _ in caught.value.problems)
    return [(place.line, place.column, said) for place, said in caught.value.problems]


def only(text: str) -> tuple[int | None, int | None, str]:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


ONE_PROBLEM = {
    # text after GOOD: line, column, what the message says and what it proposes
    "unknown field": ("scor: s\n", 3, 1, "did you mean `score`"),
    "a field that needs no choice": ("deterministic: true\n", 3, 1, "always the same bits"),
    "a field of other tools": ("dropout_p: 0.1\n", 3, 1, "write `dropout: 0.1`"),
    "a field named self": ("self: 1\n", 3, 1, "unknown field 'self'"),
    "unknown nested field": ("heads: {q: 8, kv: 4, v: 4}\n", 3, 22, "unknown field 'v'"),
    "duplicate key": ("tf32: false\ntf32: true\n", 4, 1, "`tf32` appears twice; the first is at line 3"),
    "duplicate input": ("inputs:\n  a1: {shape: [heads]}\n  a1: {shape: [heads]}\n", 5, 3, "appears twice"),
    "no is not false": ("tf32: no\n", 3, 7, "write false, or 'no'"),
    "On is not true": ("tf32: On\n", 3, 7, "write true, or 'On'"),
    "True has one spelling": ("tf32: True\n", 3, 7, "write true, or 'True'"),
    "leading zero": ("constants: {cap: 010}\n", 3, 18, "write 10"),
    "underscore": ("constants: {cap: 1_000}\n", 3, 18, "write 1000"),
    "hexadecimal": ("constants: {cap: 0x10}\n", 3, 18, "write 16"),
    "sexagesimal": ("constants: {cap: 1:30}\n", 3, 18, "base 60"),
    "date": ("description: 2001-01-01\n", 3, 14, "write '2001-01-01'"),
    "infinity": ("scale: .inf\n", 3, 8, "finite"),
    "tilde": ("mask: ~\n", 3, 7, "write null"),
    "number for text": ("description: 7\n", 3, 14, "put it in quotes"),
    "text for number": ("scale: fast\n", 3, 8, "expected a number, got 'fast'"),
    "true for number": ("scale: true\n", 3, 8, "expected a number, got true"),
    "list for text": ("score: [s]\n", 3, 8, "expected text, got a list"),
    "text for mapping": ("heads: 8\n", 3, 8, "expected a mapping with the fields q, kv, got 8"),
    "null for text": ("score:\n", 3, 6, "expected text, got nothing"),
    "alias": ("description: &a x\nsource: *a\n", 3, 14, "anchors (&a)"),
    "tag": ("description: !!str x\n", 3, 14, "tags"),
    "python tag": ("description: !!python/object/apply:os.system [ls]\n", 3, 14, "tags"),
    "merge key": ("heads: {<<: 8, q: 8, kv: 8}\n", 3, 9, "merge keys"),
    "second document": ("---\nname: other\n", 3, 1, "one spec"),
    "tab": ("heads:\n\tq: 8\n", 4, 1, "indent with spaces"),
    "unclosed": ("dtypes: [fp16\n", 4, 1, "not YAML"),
    "heads do not divide": ("heads: {q: 12, kv: 5}\n", 3, 20, "kv: 4 or 6 would work"),
    "no heads": ("heads: {q: 0, kv: 1}\n", 3, 12, "1 to 65535"),
    "dtype": ("dtypes: [fp16, float8]\n", 3, 16, "expected one of fp16, bf16, fp32, fp64"),
    "dtype twice": ("dtypes: [fp16, fp16]\n", 3, 9, "listed twice"),
    "no dtype": ("dtypes: []\n", 3, 9, "1 to 4 entries"),
    "output": ("outputs: [out, dropout]\n", 3, 16, "expected one of out, lse"),
    "later field": ("packed: true\n", 3, 1, "not implemented yet"),
    "shape symbol": ("inputs: {a1: {shape: [head]}}\n", 3, 23, "did you mean `heads`"),
    "shape size": ("inputs: {a1: {shape: [heads, 0]}}\n", 3, 30, "from 1 to"),
    "no shape": ("inputs: {a1: {dtype: int}}\n", 3, 14, "the field `shape` is required"),
    "input type": ("inputs: {a1: {shape: [heads], dtype: fp32}}\n", 3, 38, "float, int, bool"),
    "input is a variable": ("inputs: {qpos: {shape: [heads]}}\n", 3, 10, "`qpos` is a variable"),
    "input is a function": ("inputs: {causal: {shape: [heads]}}\n", 3, 10, "`causal` is a function"),
    "input is a keyword": ("inputs: {lambda: {shape: [heads]}}\n", 3, 10, "`lambda` is a word"),
    "input is code": ("inputs: {'a); import os #': {shape: [heads]}}\n", 3, 10, "a name is a letter"),
    "input looks alike": ("inputs: {slopеs: {shape: [heads]}}\n", 3, 10, "ASCII"),
    "input is an argument": ("inputs: {seed: {shape: [heads]}}\n", 3, 10, "an argument of the call"),
    "constant is an input": ("constants: {a1: 1}\ninputs: {a1: {shape: [heads]}}\n", 4, 10, "already"),
    "constant too large": ("constants: {cap: 2147483648}\n", 3, 18, "below 2^31"),
    "constant is text": ("constants: {cap: '3'}\n", 3, 18, "expected a number, got '3'"),
    "never true": ("mask: (k > qpos) & causal\n", 3, 7, "no query ever sees a key"),
    "mask is a number": ("mask: k - qpos\n", 3, 7, ""),
    "score is a condition": ("score: k < q\n", 3, 8, ""),
    "index is a float": ("score: s + a1[s]\ninputs: {a1: {shape: [heads]}}\n", 3, 15, ""),
    "wrong index": ("score: s + a1[k]\ninputs: {a1: {shape: [heads]}}\n", 3, 12, "use `h` there"),
    "index past the end": ("score: s + a1[32]\ninputs: {a1: {shape: [32]}}\n", 3, 12, "past its size 32"),
    "too few indices": ("score: s + a1[h]\ninputs: {a1: {shape: [heads, 2]}}\n", 3, 12, "2 indices"),
    "unknown name": ("score: s + slope\n", 3, 12, "unknown name `slope`"),
    "undeclared": ("score: s + a1[h, k]\n", 3, 12, "`inputs: {a1: {shape: [heads, seqlen_k]}}`"),
    "score in a mask": ("mask: s > 0\n", 3, 7, "`s` exists in scores only; a mask may read b, h, hkv"),
    "mask is true": ("mask: true\n", 3, 7, "leave the field out"),
    "mask is yes": ("mask: yes\n", 3, 7, "leave the field out"),
    "mask is no": ("mask: no\n", 3, 7, "hides every key"),
    "mask is a literal": ("mask: 1\n", 3, 7, "a mask is a condition such as `causal`"),
    "score is true": ("score: true\n", 3, 8, "belongs in `mask`"),
    "score by zero": ("score: s / 0\n", 3, 12, "`/` by zero"),
    "never negative": ("mask: k * k < 0\n", 3, 7, "no query ever sees a key"),
    "starts with %": ("mask: % causal\n", 3, 7, "text that starts with '%' needs quotes"),
    "starts with |": ("mask: | causal\n", 3, 9, "begin a text on the next lines"),
    "starts with >": ("mask: >= 3\n", 3, 8, "begin a text on the next lines"),
    "starts with *": ("mask: * causal\n", 3, 8, "text that starts with `*` or `&` needs quotes"),
    "colon in text": ("mask: k: 4\n", 3, 8, "put text that contains `: ` in quotes"),
    "no colon": ("mask causal\n", 4, 1, "a field is written `name: value`"),
    "behind a bracket": ("mask: [k] + 3\n", 3, 11, "put all of it in quotes"),
    "quote never closed": ("mask: 'causal\n", 4, 1, "its closing quote is missing"),
}


@pytest.mark.parametrize("case", ONE_PROBLEM)
def test_a_problem_has_a_place_and_a_remedy(case: str) -> None:
    text, line, column, part = ONE_PROBLEM[case]
    found_line, found_column, said = problems(GOOD + text)[0]
    assert (found_line, found_column) == (line, column), said
    assert part in said


@pytest.mark.parametrize(
    "name",
    ["../up", "/etc/x", "a/b", "a b", "Aa", "1a", "", "a.b", "a\\b", "class", "tl", "con", "x" * 49, "é"],
)
def test_a_name_is_neither_a_path_nor_code(name: str) -> None:
    line, column, _ = only(f"name: {name!r}\nhead_dim: 64\n")
    assert (line, column) == (1, 7)


@pytest.mark.parametrize("dim, near", [("0", "8"), ("100", "96 or 104"), ("264", "256"), ("-8", "8")])
def test_a_head_dim_is_refused_with_the_nearest(dim: str, near: str) -> None:
    assert only(f"name: a\nhead_dim: {dim}\n") == (
        2, 11, f"a head dim is a multiple of 8 from 8 to 256, got {dim}; nearest: {near}",
    )  # fmt: skip


@pytest.mark.parametrize("dim", ["64.0", "'64'"])
def test_a_head_dim_that_is_nearly_one_is_answered_with_it(dim: str) -> None:
    line, column, said = only(f"name: a\nhead_dim: {dim}\n")
    assert (line, column) == (2, 11)
    assert said.endswith(f"got {dim}: write 64")


def test_a_misspelt_field_is_not_missing_as_well() -> None:
    assert only("name: a\nhead_dim: {q: 64, v: 64}\n") == (2, 12, "unknown field 'q'; did you mean `qk`?")
    assert only("nam: a\nhead_dim: 64\n") == (1, 1, "unknown field 'nam'; did you mean `name`?")
    assert len(problems("foo: a\nhead_dim: {qk: 64, w: 64}\n")) == 4


@pytest.mark.parametrize(
    "written, line, column",
    [
        ("score: s + oops", 3, 12),
        ("score:   s + oops # why", 3, 14),
        ("score: 's + oops'", 3, 13),
        ('score: "s + oops"', 3, 13),
        ('score: "s \\x2b oops"', 3, 16),
        ('score: "s +\\n oops"', 3, 15),
        ('score: "s +\\\n  oops"', 4, 3),
        ("score: |\n  s +\n  oops", 5, 3),
        ("score: >-\n  s\n   + oops", 5, 6),
        ("score: >- # folded\n  s\n  + oops", 5, 5),
        ("score: s\n  + oops", 4, 5),
        ("score:\n  s + oops", 4, 7),
        ("score: s +", 3, 11),
    ],
)
def test_an_error_points_into_the_expression_however_it_is_written(
    written: str, line: int, column: int
) -> None:
    assert only(f"{GOOD}{written}\n")[:2] == (line, column)
    assert only(f"{GOOD}{written}\n".replace("\n", "\r\n"))[:2] == (line, column)


def test_all_problems_are_reported_in_order() -> None:
    text = (
        "name: Bad-Name\nhead_dim: 100\nheads: {q: 12, kv: 5}\nscore: s + oops\nmask: causal & (k <)\n"
        "inputs:\n  slopes: {shape: [head], dtyp: int}\n  len: {}\nextra: 1\ndropout: 1.5\nsink: k\n"
    )
    places = [(line, column) for line, column, _ in problems(text)]
    assert places == [
        (1, 7), (2, 11), (3, 20), (4, 12), (5, 20), (7, 20), (7, 27), (8, 8), (9, 1), (10, 10), (11, 7),
    ]  # fmt: skip


def test_an_expression_is_not_blamed_for_a_wrong_input() -> None:
    assert only(f"{GOOD}score: s + a1[h]\ninputs:\n  a1: {{dtype: int}}\n")[:2] == (5, 7)


def test_an_input_called_like_nothing() -> None:
    assert [p[:2] for p in problems(f"{GOOD}inputs: {{None: {{shape: [heads], dtype: 3}}}}\n")] == [(3, 40)]


@pytest.mark.parametrize("name", ["e1", "e3", "e05", "e"])
def test_a_name_that_looks_like_an_exponent_is_a_name(name: str) -> None:
    assert load_text(f"name: {name}\nhead_dim: 64\n").name == name


@pytest.mark.parametrize("text", ["E5", ".e5", "-e5", "."])
def test_what_only_resembles_a_number_is_text(text: str) -> None:
    assert plain(text) == (text, None)


@pytest.mark.parametrize("text", ["1e5", "1.e5", ".5", "-0.5E-3", "+2."])
def test_a_number_has_a_digit_before_its_exponent(text: str) -> None:
    assert plain(text) == (float(text), None)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file_says_what_a_spec_needs(text: str) -> None:
    assert "`name` and `head_dim`" in only(text)[2]


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "[1, 2]\n"])
def test_a_spec_is_a_mapping(text: str) -> None:
    assert only(text)[:2] == (1, 1)


def test_limits() -> None:
    assert "64 KiB" in only(f"{GOOD}description: {'x' * 70000}\n")[2]
    assert "levels deep" in only(f"{GOOD}score: {'[' * 5000}{']' * 5000}\n")[2]
    assert "characters" in only(f"{GOOD}description: {'x' * 5000}\n")[2]


def test_bytes_that_are_not_utf8_have_a_place(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"name: a\ndescription: caf\xe9\n")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert str(caught.value) == f"{file}:2:17: byte 0xE9 is not UTF-8: save the file as UTF-8"


def test_a_missing_file_is_a_spec_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, Path("bad\0name")):
        with pytest.raises(SpecError, match="cannot be read"):
            load_spec(path)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_spec(file) == load_spec(GOOD) == AttentionSpec(name="good", head_dim=64)
