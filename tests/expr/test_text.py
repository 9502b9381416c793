"""What is printed is read back as the same tree."""

from __future__ import annotations

import pytest
from hypothesis import given

from flashgen.expr.nodes import Call, Expr, Type, Var, integer, real
from flashgen.expr.parse import parse
from flashgen.expr.text import to_text

from .strategies import SCOPE, expressions


@given(expressions("float"))
def test_a_score_is_read_back(e: Expr) -> None:
    assert parse(to_text(e), SCOPE, want="float") == e


@given(expressions("bool"))
def test_a_mask_is_read_back(e: Expr) -> None:
    assert parse(to_text(e), SCOPE, want="bool") == e


@given(expressions("int"))
def test_an_index_is_read_back(e: Expr) -> None:
    assert parse(to_text(e), SCOPE, want="int") == e


@pytest.mark.parametrize(
    "want, text, printed",
    [
        ("float", "s+slopes[ h ]*(k-qpos)", "s + slopes[h] * (k - qpos)"),
        ("float", "((2))", "2.0"),
        ("int", "q - (k - 1)", "q - (k - 1)"),
        ("int", "(q - k) - 1", "q - k - 1"),
        ("int", "-(q*q)", "-(q * q)"),
        ("int", "-q*q", "-q * q"),
        ("int", "--q - -3", "--q - -3"),
        ("int", "q // (k % 3) % 2", "q // (k % 3) % 2"),
        ("float", "2*q/k", "2 * q / k"),
        ("float", "float(q)*k", "float(q) * k"),
        ("float", "q * k", "float(q * k)"),
        ("float", "q * k + s", "q * k + s"),
        ("float", "s - -1", "s - -1.0"),
        ("float", "1e10*s", "10000000000.0 * s"),
        ("float", "exp(q)", "exp(q)"),
        ("float", "where(causal, s, -inf)", "where(k <= qpos, s, -inf)"),
        ("float", "sink", "sink"),
        ("int", "int(~(q<k)|(k<3)&causal)", "int(~(q < k) | (k < 3) & (k <= qpos))"),
        ("bool", "0 <= k < q", "(0 <= k) & (k < q)"),
        ("bool", "~keep[b,k] & True", "~keep[b, k] & True"),
    ],
)
def test_canonical_text(want: Type, text: str, printed: str) -> None:
    e = parse(text, SCOPE, want=want)
    assert to_text(e) == printed
    assert parse(printed, SCOPE, want=want) == e


def test_what_the_compiler_builds_prints_too() -> None:
    e = Call("cdiv", (Var("Nk", "int"), Var("BLOCK_N", "int")), "int")
    assert to_text(e) == "cdiv(Nk, BLOCK_N)"
    assert to_text(Call("mul", (real(float("-inf")), Var("t", "float")), "float")) == "-inf * t"
    assert to_text(Call("sub", (integer(1), Call("neg", (integer(-2),), "int")), "int")) == "1 - --2"
