"""The torch evaluator computes, element by element, what plain Python computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given

from flashgen.expr.evaluate import evaluate_python, evaluate_torch
from flashgen.expr.nodes import Const, Expr, Read, Var, children
from flashgen.expr.ops import OPS
from flashgen.expr.parse import SCORE_SCOPE, parse
from flashgen.expr.scope import Scope

from .strategies import SCOPE, expressions

NQ, NK = 3, 4
POINT = {"b": 1, "h": 2, "hkv": 1, "Nq": NQ, "Nk": NK}
TENSORS = {
    "bias": torch.linspace(-2, 2, 5 * NQ * NK).reshape(5, NQ, NK),
    "slopes": torch.tensor([0.5, -1.0, math.inf, 2.0, 0.0]),
    "length": torch.tensor([2, 0, 3, 1, 4], dtype=torch.int32),
    "keep": torch.arange(36).reshape(6, 6) % 3 == 0,
    "sink": torch.tensor(1.5),
}


def coordinates() -> dict[str, Any]:
    q, k = torch.arange(NQ)[:, None], torch.arange(NK)[None, :]
    s = torch.linspace(-4, 5, NQ * NK, dtype=torch.float64).reshape(NQ, NK)
    return {**POINT, "q": q, "k": k, "qpos": q + NK - NQ, "s": s}


def element(node: Read, index: tuple[Any, ...]) -> Any:
    """The element, indices taken modulo the sides so that random expressions stay inside."""
    sides = TENSORS[node.name].shape
    return TENSORS[node.name][tuple(i % n for i, n in zip(index, sides, strict=True))]


def number(node: Read, index: tuple[Any, ...]) -> Any:
    return element(node, index).item()


def check(e: Expr) -> None:
    values = coordinates()
    try:
        got = evaluate_torch(e, values, element, torch.float64)
    except (ZeroDivisionError, RuntimeError) as error:
        assume("ZeroDivision" not in repr(error))
        raise
    found = torch.as_tensor(got).broadcast_to(NQ, NK).tolist()
    for i in range(NQ):
        for j in range(NK):
            at = {**POINT, "q": i, "k": j, "qpos": i + NK - NQ, "s": values["s"][i, j].item()}
            expected = evaluate_python(e, at, number)
            assert found[i][j] == pytest.approx(expected, rel=1e-9, nan_ok=True)


@given(expressions("int"))
def test_ints_element_by_element(e: Expr) -> None:
    check(e)


@given(expressions("bool", floats=False))
def test_conditions_element_by_element(e: Expr) -> None:
    check(e)


@pytest.mark.parametrize(
    "text",
    [
        "s + slopes[h] * (k - qpos)",
        "where(causal, softcap(s, 30), -inf)",
        "exp(-abs(s)) + log(s) + sqrt(s) + bias[h, q, k]",
        "s * (s * s) + (s * s)",
        "bias[t5_bucket(k - qpos) % 5, q, k] / q",
        "where(keep[q, k] & (k < length[b]), sink, q / 3)",
        "max(s, 0) + min(q, k) + sigmoid(s) - tanh(-s) + sin(s) * cos(s)",
        "where(k < q, 0.1, 0.2)",
        "2 ** 3",
    ],
)
def test_scores_element_by_element(text: str) -> None:
    check(parse(text, SCOPE, want="float"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "text", ["s * 2 + q", "where(k < q, 0.1, -inf)", "q / k", "h * slopes[h] + s", "sink"]
)
def test_floats_come_out_in_the_dtype_asked_for(text: str, dtype: torch.dtype) -> None:
    values = coordinates()
    values["s"] = values["s"].to(torch.bfloat16)
    got = evaluate_torch(parse(text, SCOPE, want="float"), values, element, dtype)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == dtype


def test_literals_keep_their_digits_in_double_precision() -> None:
    got = evaluate_torch(
        parse("where(k < q, 0.1, 0.2)", SCOPE, want="float"), coordinates(), element, torch.float64
    )
    assert isinstance(got, torch.Tensor)
    assert set(got.flatten().tolist()) == {0.1, 0.2}


def test_no_tensor_no_torch() -> None:
    e = parse("where(h < 3, exp(h), 1) + max(b, 2)", SCOPE, want="float")
    assert evaluate_torch(e, POINT, element, torch.float32) == math.exp(2) + 2


def test_arguments_are_never_written_to() -> None:
    values = coordinates()
    before = {n: v.clone() for n, v in values.items() if isinstance(v, torch.Tensor)}
    table = TENSORS["bias"].clone()
    for text in (
        "exp(s) * 2 + s",
        "-s",
        "(s + q) * s - (s + q)",
        "bias[h, q, k] * 2 + s",
        "float(float(s)) + 1",
    ):
        evaluate_torch(parse(text, SCOPE, want="float"), values, element, torch.float64)
    assert all(torch.equal(values[n], v) for n, v in before.items())
    assert torch.equal(TENSORS["bias"], table)


def test_equal_parts_are_computed_once() -> None:
    count = 0

    def counted(node: Read, index: tuple[Any, ...]) -> Any:
        nonlocal count
        count += 1
        return element(node, index)

    e = parse("slopes[h] ** 4 + slopes[h]", SCOPE, want="float")
    evaluate_torch(e, coordinates(), counted, torch.float64)
    assert count == 1


def test_signed_zeros_stay_apart() -> None:
    scope = Scope(SCORE_SCOPE.variables)
    e = parse("where(k < 2, 1 / (abs(s) * 0.0), 1 / (abs(s) * -0.0))", scope, want="float")
    got = evaluate_torch(e, coordinates(), element, torch.float64)
    assert isinstance(got, torch.Tensor)
    assert got[0].tolist() == [math.inf, math.inf, -math.inf, -math.inf]


def plainly(e: Expr, values: dict[str, Any]) -> Any:
    """Torch without sharing or reuse of memory: each node from its row, on fresh tensors."""
    if isinstance(e, Const):
        return e.value
    if isinstance(e, Var):
        return values[e.name]
    args = [plainly(c, values) for c in children(e)]
    if isinstance(e, Read):
        kind = {"float": torch.float64, "int": torch.int64, "bool": torch.bool}[e.type]
        return element(e, tuple(args)).to(kind)
    if not any(isinstance(a, torch.Tensor) for a in args):
        return OPS[e.op].python(*args)
    if e.op == "float":
        return args[0].to(torch.float64)
    if e.op == "where":
        args = [torch.as_tensor(a, dtype=torch.float64 if isinstance(a, float) else None) for a in args]
    return OPS[e.op].torch(torch, *args)


@given(expressions("float"))
def test_reuse_of_memory_changes_nothing(e: Expr) -> None:
    values = coordinates()
    try:
        expected = plainly(e, values)
    except (ZeroDivisionError, RuntimeError) as error:
        assume("ZeroDivision" not in repr(error))
        raise
    for scratch in ((), ("s",)):
        # The tensor given as scratch is dense and used nowhere else.
        got = evaluate_torch(e, {**values, "s": values["s"].clone()}, element, torch.float64, scratch)
        torch.testing.assert_close(
            torch.as_tensor(got).broadcast_to(NQ, NK).to(torch.float64),
            torch.as_tensor(expected).broadcast_to(NQ, NK).to(torch.float64),
            rtol=1e-12,
            atol=0,
            equal_nan=True,
        )


def test_scratch_takes_the_result() -> None:
    values = coordinates()
    e = parse("where(causal, exp(1 - s * 2), -inf)", SCOPE, want="float")
    got = evaluate_torch(e, values, element, torch.float64, scratch=("s",))
    assert isinstance(got, torch.Tensor)
    assert got.data_ptr() == values["s"].data_ptr()


def test_integer_inputs_count_in_64_bits() -> None:
    e = parse("2147483647 + length[h]", SCOPE, want="int")
    assert evaluate_torch(e, POINT, element, torch.float32) == 2**31 + 2


@pytest.mark.parametrize("text", ["where(1 > 2, s + s, s) + -s", "where(2 > 1, s, exp(s)) * exp(s)"])
def test_a_value_passed_through_is_not_overwritten(text: str) -> None:
    e = parse(text, SCOPE, want="float")
    s = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = [evaluate_python(e, {"s": float(x)}) for x in s]
    got = evaluate_torch(e, {"s": s.clone()}, element, torch.float64, scratch=("s",))
    assert torch.as_tensor(got).tolist() == pytest.approx(expected)
