"""Integers are exact, and what 64 bits might not hold is found; floats that do not fit a kernel are refused;
dividing by zero gives 0."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch

from flashgen.errors import ExprError
from flashgen.expr import build
from flashgen.expr.evaluate import evaluate_python, evaluate_torch
from flashgen.expr.nodes import Read
from flashgen.expr.parse import parse
from flashgen.expr.text import to_text
from flashgen.ir.attention import close

from .strategies import SCOPE

BEYOND_32_BITS = [
    "k < 2147483647 + 1",
    "k < -2147483647 - 2",
    "k * 65536 * 65536 < q",
    "k < max(65536, 1) * max(65536, 2)",
    "window(2147483647 * 2, 0)",
    "k < q - (-2147483647) + 3",
    "-length[b] > length[0]",
    "abs(length[b] - q * 100000000) % 7 == k",
    "(length[b] * length[0] + k) // -3 < length[b] - 1",
]
EDGES = (-(2**31), -(2**31) + 1, -1, 0, 3, 2**30, 2**31 - 1)


@pytest.mark.parametrize("text", BEYOND_32_BITS)
def test_integers_are_exact_beyond_32_bits(text: str) -> None:
    whole = parse(text, SCOPE, want="bool")
    closed = close(whole)
    assert build.too_large(whole) is None
    rows = list(itertools.product(EDGES, EDGES, (0, 299)))
    x, y, k = (torch.tensor(column) for column in zip(*rows, strict=True))
    values = {"q": 200, "b": 1, "Nq": 300, "Nk": 300, "qpos": 200}
    for e in (whole, closed):
        got = evaluate_torch(e, {**values, "k": k}, partial(_read, (y, x)), torch.float32)
        numbers = [evaluate_python(whole, {**values, "k": k}, partial(_read, (y, x))) for x, y, k in rows]
        assert torch.as_tensor(got).expand(len(rows)).tolist() == numbers


def _read(values: tuple[Any, Any], read: Read, at: tuple[Any, ...]) -> Any:
    return values[int(at[0])]


@pytest.mark.parametrize(
    "text, part",
    [
        ("k < 2147483647 ** 3", "2147483647 * 2147483647 * 2147483647"),
        ("q < length[b] ** 3 // 5", "length[b] * length[b] * length[b]"),
        (
            "(length[b] * length[0] % length[b] < 3) & (length[b] * 65536 * 131072 < k)",
            "length[b] * 65536 * 131072",
        ),
        ("k < q * length[b] * 2147483647", "q * length[b] * 2147483647"),
    ],
)
def test_what_may_leave_64_bits_is_named(text: str, part: str) -> None:
    large = build.too_large(parse(text, SCOPE, want="bool"))
    assert large is not None
    assert to_text(large) == part


def test_a_product_that_becomes_a_float_may_be_as_large_as_it_likes() -> None:
    assert build.too_large(parse("s + 1e-30 * length[b] ** 5", SCOPE, want="float")) is None


@pytest.mark.parametrize("text", ["where(causal, s, -3.5e38)", "s - 1e300", "1e39 * s"])
def test_floats_beyond_fp32(text: str) -> None:
    with pytest.raises(ExprError, match="too large for a float"):
        parse(text, SCOPE, want="float")


@pytest.mark.parametrize(
    "text", ["2147483647", "-2147483647", "46340 * 46340", "2147483647 * q", "k // 2147483647"]
)
def test_what_fits(text: str) -> None:
    assert parse(text, SCOPE, want="int").type == "int"


@pytest.mark.parametrize(
    "text",
    [
        "k // (1 - 1) < 3",
        "k % (2 - 2) < 3",
        "k // (q - q) < 1",
        "k // min(0, 4) < 2",
        "chunked(0)",
        "dilated(3 - 3)",
    ],
)
def test_division_by_what_is_always_zero(text: str) -> None:
    with pytest.raises(ExprError, match="by zero"):
        parse(text, SCOPE, want="bool")


@pytest.mark.parametrize(
    "text", ["q // length[b]", "q % length[b]", "9 // (k - 2)", "9 % (k - 2)", "-q // (k - 3)"]
)
def test_division_by_zero_gives_zero(text: str) -> None:
    whole = parse(text, SCOPE, want="int")
    for e in (whole, close(whole)):
        for k in (1, 2, 3, 4):
            values = {"q": 7, "k": k, "b": 0, "Nq": 9, "Nk": 9}
            number = evaluate_python(e, values, lambda r, at: 0)
            tensors = {n: torch.tensor([x]) for n, x in values.items()}
            got = evaluate_torch(e, tensors, lambda r, at: torch.tensor([0]), torch.float32)
            divisor = 0 if "length" in text else k - int(text[-2])
            if divisor == 0:
                assert number == 0
            assert int(got) == number
