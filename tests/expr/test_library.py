"""The library's functions against their definitions, the hints, and the generated table."""

from __future__ import annotations

import math

import pytest

from flashgen.errors import ExprError
from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.hints import hints
from flashgen.expr.library import LIBRARY
from flashgen.expr.nodes import Type
from flashgen.expr.ops import OPS
from flashgen.expr.parse import SCORE_SCOPE, InputType, Scope, parse
from flashgen.expr.text import to_text
from flashgen.generate.tables import library, operators

NQ, NK = 5, 9


def seen(text: str) -> list[str]:
    """The mask as rows of ``#`` and ``.``."""
    e = parse(text, SCORE_SCOPE, want="bool")

    def at(q: int, k: int) -> dict[str, int]:
        return {"q": q, "k": k, "qpos": q + NK - NQ, "Nq": NQ, "Nk": NK}

    return ["".join(".#"[bool(evaluate_python(e, at(q, k)))] for k in range(NK)) for q in range(NQ)]


@pytest.mark.parametrize(
    "text, rows",
    [
        ("causal", "#####.... ######... #######.. ########. #########"),
        ("causal_top_left", "#........ ##....... ###...... ####..... #####...."),
        ("window(2, 1)", "..####... ...####.. ....####. .....#### ......###"),
        ("prefix(3)", "###...... ###...... ###...... ###...... ###......"),
        ("chunked(4)", "....####. ....####. ....####. ....####. ........#"),
        ("dilated(3) & causal", ".#..#.... ..#..#... #..#..#.. .#..#..#. ..#..#..#"),
        ("prefix(2) | window(1, 0)", "##.##.... ##..##... ##...##.. ##....##. ##.....##"),
    ],
)
def test_masks(text: str, rows: str) -> None:
    assert seen(text) == rows.split()


def test_buckets_follow_the_papers_formula() -> None:
    e = parse("t5_bucket(n)", Scope({"n": "int"}), want="int")

    def bucket(n: int) -> int:
        # 8 + floor(8 * log16(|n| / 8)): |n|^2 * 8^-2 >= 16^(i/4) in integers, without rounding.
        m = abs(n)
        small = m if m < 8 else 8 + max(i for i in range(8) if m**8 >= 8**8 * 16**i)
        return min(small, 15) + 16 * (n > 0)

    for n in range(-300, 300):
        assert evaluate_python(e, {"n": n}) == bucket(n), n


def test_a_table_of_relative_positions_is_never_left() -> None:
    e = parse("relative_index(3)", SCORE_SCOPE, want="int")
    assert [evaluate_python(e, {"k": k, "qpos": 5}) for k in range(11)] == [0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6]


def test_scores() -> None:
    def value(text: str, want: Type = "float") -> object:
        return evaluate_python(parse(text, SCORE_SCOPE, want=want), {"s": 40.0, "k": 2, "qpos": 6})

    assert value("softcap(s, 30)") == 30 * math.tanh(40 / 30)
    assert value("s + alibi(0.5)") == 38.0
    assert value("clip(s, -1, 1)") == 1.0


@pytest.mark.parametrize("x", ["k - qpos", "s", "0.5"])
@pytest.mark.parametrize("rest", [", 0, 9", ", 0.5, 9", ", -k, k"])
def test_a_call_means_what_it_stands_for(x: str, rest: str) -> None:
    low, high = rest[2:].split(", ")
    wants: list[Type] = ["int", "float"]
    for want in wants:
        call, written = f"clip({x}{rest})", f"min(max({x}, {low}), {high})"
        assert reads_as(call, SCORE_SCOPE, want) == reads_as(written, SCORE_SCOPE, want)
    assert parse(call, SCORE_SCOPE, want="float") == parse(written, SCORE_SCOPE, want="float")


def test_a_clipped_integer_is_an_index() -> None:
    scope = Scope(SCORE_SCOPE.variables, inputs={"table": InputType(1, "float")})
    assert reads_as("table[clip(k - qpos, 0, 9)]", scope, "float")
    assert not reads_as("table[clip(s, 0, 9)]", scope, "float")


@pytest.mark.parametrize(
    "text, said",
    [
        ("clip(s, causal, 1)", "`low` of `clip(x, low, high)` is a number, but `causal` is a condition"),
        ("prefix(s)", "`n` of `prefix(n)` is an integer, but `s` is a float; `floor(x)` makes an integer"),
    ],
)
def test_a_wrong_argument_is_named(text: str, said: str) -> None:
    with pytest.raises(ExprError) as caught:
        parse(text, SCORE_SCOPE, want="float")
    assert said in str(caught.value)


def test_every_function_parses_and_prints() -> None:
    for f in LIBRARY.values():
        params: dict[str, Type] = {n: "int" if takes == "int" else "float" for n, takes in f.params}
        scope = Scope({**SCORE_SCOPE.variables, **params})
        call = f.signature
        wants: list[Type] = ["bool", "int", "float"]
        types = [w for w in wants if reads_as(call, scope, w)]
        e = parse(call, scope, want=types[0])
        assert parse(to_text(e), scope, want=types[0]) == e
        assert f.doc
        assert not set(dict(f.params)) & (set(OPS) | set(LIBRARY))


def reads_as(text: str, scope: Scope, want: Type) -> bool:
    try:
        parse(text, scope, want=want)
    except ExprError:
        return False
    return True


@pytest.mark.parametrize(
    "text, said",
    [
        ("where(causal, s, -inf)", "`mask: k <= qpos`"),
        ("where(k > qpos, -inf, s * 2)", "`mask: ~(k > qpos)`"),
        ("s + where(causal, 0, -1e9)", "not infinity"),
        ("softcap(where(k < 9, s, -inf), 3)", "`mask: k < 9`"),
        ("s * int(causal)", "exp(0) = 1"),
        ("s * where(causal, 1, 0)", "exp(0) = 1"),
        ("alibi(2)", "does not use `s`"),
    ],
)
def test_hints(text: str, said: str) -> None:
    (hint,) = hints(parse(text, SCORE_SCOPE, want="float"))
    assert said in hint


@pytest.mark.parametrize("text", ["s", "s + alibi(0.5)", "where(causal, s, s / 2)", "s + where(k < 4, 1, 0)"])
def test_no_hint_where_nothing_is_hidden(text: str) -> None:
    assert hints(parse(text, SCORE_SCOPE, want="float")) == []


def test_the_table_has_every_name() -> None:
    table = operators() + "\n" + library()
    for op in OPS.values():
        assert (f"`{op.usage}`".replace("|", "\\|") in table) == op.public
    for f in LIBRARY.values():
        assert f"| `{f.signature}` |" in table
    for line in table.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
