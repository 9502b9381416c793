"""What texts mean, and what is said about the ones that mean nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from flashgen.errors import ExprError
from flashgen.expr.nodes import FALSE, TRUE, Call, Const, Expr, Read, Type, Var, integer, real
from flashgen.expr.parse import MASK_SCOPE, SHORTHANDS, Scope, parse

from .strategies import SCOPE

S, Q, K, H = Var("s", "float"), Var("q", "int"), Var("k", "int"), Var("h", "int")
CONSTANTS = dataclasses.replace(SCOPE, constants={"size": 64, "low": -3, "cap": 30.0, "on": True})


def f(e: Expr) -> Expr:
    return Call("float", (e,), "float")


def num(op: str, *args: Expr) -> Expr:
    return Call(op, args, args[-1].type)


def cond(op: str, *args: Expr) -> Expr:
    return Call(op, args, "bool")


def whole(op: str, *args: Expr) -> Expr:
    return Call(op, args, "int")


@pytest.mark.parametrize(
    "want, text, tree",
    [
        ("int", "q + k * 2", num("add", Q, num("mul", K, integer(2)))),
        ("int", "(q + k) * 2", num("mul", num("add", Q, K), integer(2))),
        ("int", "q - k - 1", num("sub", num("sub", Q, K), integer(1))),
        ("int", "-q ** 2", num("neg", num("mul", Q, Q))),
        ("int", "(-3) ** 2", num("mul", integer(-3), integer(-3))),
        ("int", "q ** 0", integer(1)),
        ("float", "s ** 0", real(1)),
        ("float", "s ** 1", S),
        ("float", "s ** 3", num("mul", num("mul", S, S), S)),
        ("int", "- 3", integer(-3)),
        ("int", "--3", integer(3)),
        ("int", "-low", integer(3)),
        ("float", "-inf", real(float("-inf"))),
        ("float", "2", real(2)),
        ("float", "q", f(Q)),
        ("float", "2 * s", num("mul", real(2), S)),
        ("float", "s + q", num("add", S, f(Q))),
        ("float", "q / k", num("div", f(Q), f(K))),
        ("float", "exp(q)", num("exp", f(Q))),
        ("float", "float(s)", S),
        ("float", "cap * size", num("mul", real(30), real(64))),
        ("float", ".5 + 1.", num("add", real(0.5), real(1))),
        ("bool", "on & False", cond("and", TRUE, FALSE)),
        ("bool", "q < 0.5", cond("lt", f(Q), real(0.5))),
        ("bool", "0 <= k < q", cond("and", cond("le", integer(0), K), cond("lt", K, Q))),
        ("bool", "(k < 4) | ~(q == k)", cond("or", cond("lt", K, integer(4)), cond("not", cond("eq", Q, K)))),
        ("bool", "q & 1 == 0", cond("eq", whole("bit_and", Q, integer(1)), integer(0))),
        (
            "int",
            "q | k ^ h & q << k + 1",
            whole(
                "bit_or",
                Q,
                whole("bit_xor", K, whole("bit_and", H, whole("shift_left", Q, whole("add", K, integer(1))))),
            ),
        ),
        (
            "int",
            "~q >> 2 << k",
            whole("shift_left", whole("shift_right", whole("bit_not", Q), integer(2)), K),
        ),
        (
            "bool",
            "(q < k) ^ (k < q) | (q == k)",
            cond("or", cond("xor", cond("lt", Q, K), cond("lt", K, Q)), cond("eq", Q, K)),
        ),
        (
            "bool",
            "(q < k) == (k < q) != causal",
            cond(
                "and",
                cond("iff", cond("lt", Q, K), cond("lt", K, Q)),
                cond("unlike", cond("lt", K, Q), cond("le", K, Var("qpos", "int"))),
            ),
        ),
        ("bool", "causal()", cond("le", K, Var("qpos", "int"))),
        ("bool", "prefix(length[b])", cond("lt", K, Read("length", (Var("b", "int"),), "int"))),
        ("float", "slopes[h]", Read("slopes", (H,), "float")),
        ("float", "bias[h, q, k,]", Read("bias", (H, Q, K), "float")),
        ("float", "sink", Read("sink", (), "float")),
        ("int", "floor(s)", Call("floor", (S,), "int")),
        ("float", "softcap(s, 50)", num("mul", real(50), num("tanh", num("div", S, real(50))))),
        ("float", "s +\n  q", num("add", S, f(Q))),
    ],
)
def test_trees(want: Type, text: str, tree: Expr) -> None:
    assert parse(text, CONSTANTS, want=want) == tree


def test_a_literal_keeps_its_type() -> None:
    one = parse("1", SCOPE, want="int")
    assert isinstance(one, Const)
    assert type(one.value) is int
    also = parse("1", SCOPE, want="float")
    assert isinstance(also, Const)
    assert type(also.value) is float


@pytest.mark.parametrize(
    "want, text, offset, said",
    [
        ("bool", "k < 4 | causal", 4, "put them in parentheses: `(k < 4) | causal`"),
        ("bool", "causal | k < 4", 9, "put them in parentheses: `causal | (k < …)`"),
        ("bool", "(q < 3) & (k & causal)", 11, "compare the integer, as in `x != 0`"),
        ("bool", "causal and causal", 7, "write `&`"),
        ("bool", "not causal", 0, "write `~`"),
        ("float", "s if causal else 0", 2, "`where(c, a, b)`"),
        ("bool", "q = k", 2, "write `==`"),
        ("bool", "!causal", 0, "write `~`"),
        ("bool", "~k < 4", 0, "for a condition write `~(k < 4)`, for bits `(~k) < 4`"),
        ("bool", "k < 4 | q < 8", 6, "for conditions write `(k < 4) | (q < …)`, for bits `(4 | q)`"),
        (
            "bool",
            "q == 0 & k < 3 & causal",
            7,
            "for conditions write `(q == 0) & (k < …)`, for bits `(0 & k)`",
        ),
        ("float", "s ^ 2", 0, "a power is written `x ** 2`"),
        ("int", "q << 32", 5, "a count is 0 … 31"),
        ("bool", "causal == 1", 0, "`int(condition)` makes a number of a condition"),
        ("bool", "casual", 0, "did you mean `causal`"),
        ("float", "slope[h]", 0, "did you mean `slopes`"),
        ("float", "sofcap(s, 3)", 0, "did you mean `softcap`"),
        ("float", "score + 1", 0, "here it is `s`"),
        ("bool", "kv_idx <= q", 0, "here it is `k`"),
        ("float", "s + tanhh(s)", 4, "did you mean `tanh`"),
        ("float", "ｓ + 1", 0, "type `s`"),
        ("bool", "k ≤ q", 2, "type `<=`"),
        ("float", "causal", 0, "conditions belong in `mask`"),
        ("bool", "s", 0, "compare it"),
        ("float", "slopes[s]", 7, "`floor(x)` makes one"),
        ("float", "slopes", 0, "`slopes[h]`"),
        ("float", "bias[h]", 0, "takes 3 indices, got 1"),
        ("float", "min(s, 1, 2)", 0, "`min(a, min(b, c))`"),
        ("float", "s ** q", 5, "exp(y * log(x))"),
        ("float", "2 (s)", 2, "a product needs `*`"),
        ("float", "exp", 0, "write `exp(x)`"),
        ("float", "(s + 1", 6, "expected `)` to close the `(` at character 1, found the end"),
        ("float", "s + ", 4, "expected a value, found the end"),
        ("float", "s s", 2, "expected an operator after `s`"),
        ("float", "where(s, 1, 0)", 6, "compare it"),
        ("bool", "where(causal, causal, causal)", 14, "(c & a) | (~c & b)"),
        ("bool", "window(1.5, 0)", 7, "`left` of `window(left, right)` is an integer"),
        ("int", "q // s", 5, "floor(a / b)"),
        ("int", "q // 0", 5, "by zero"),
        ("float", "s / 0", 4, "`/` by zero"),
        ("float", "s / (2 - 2.0)", 4, "`/` by zero"),
        ("float", "softcap(s, 0)", 0, "in `softcap(x, cap)`: `/` by zero"),
        ("float", "s * limit", 4, "declare a number as `constants: {limit: 64}`"),
        ("float", "table[h]", 0, "declare it, as in `inputs: {table: {shape: [heads]}}`"),
        ("float", "table[h, q, k]", 0, "`inputs: {table: {shape: [heads, seqlen_q, seqlen_k]}}`"),
        ("float", "table[h, min(k - q, 3), b]", 0, "`inputs: {table: {shape: [heads, 32, batch]}}`"),
        ("float", "table[", 0, "`inputs: {table: {shape: [heads]}}`"),
        ("int", "int(s)", 4, "`floor(x)`"),
    ],
)
def test_errors_say_what_would_work(want: Type, text: str, offset: int, said: str) -> None:
    with pytest.raises(ExprError) as caught:
        parse(text, SCOPE, want=want)
    assert said in caught.value.message
    assert caught.value.offset == offset


def test_a_mask_has_no_score() -> None:
    with pytest.raises(
        ExprError, match="`s` exists in scores only; a mask may read b, h, hkv, q, k, qpos, Nq"
    ):
        parse("s > 0", MASK_SCOPE, want="bool")


def test_the_documented_shorthands_parse() -> None:
    names: dict[str, Type] = {"a": "int", "b": "int", "c": "int", "x": "float"}
    for written, _, gives, _ in SHORTHANDS:
        want: Type = "bool" if gives == "bool" else "float"
        assert parse(written.replace("n", "3"), Scope(names), want=want).type == want


def test_limits_leave_room() -> None:
    parse("+".join(["s"] * 49), SCOPE, want="float")
    parse("(" * 45 + "s" + ")" * 45, SCOPE, want="float")
    parse("bias[h, q, k] + s * t5_bucket(k - qpos) + t5_bucket(q - k)", SCOPE, want="float")
    parse("s" + " " * 1999, SCOPE, want="float")


def test_parsing_needs_no_torch() -> None:
    modules = "flashgen.expr.parse, flashgen.expr.hints, flashgen.expr.evaluate"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
