"""Constants that do not fit a kernel are refused, wherever they come from; dividing by zero gives 0."""

from __future__ import annotations

import pytest
import torch

from flashgen.errors import ExprError
from flashgen.expr.evaluate import evaluate_python, evaluate_torch
from flashgen.expr.parse import parse
from flashgen.ir.attention import close

from .strategies import SCOPE

TOO_LARGE = [
    "k < 2147483647 ** 3",
    "k < 2147483647 + 1",
    "k < -2147483647 - 2",
    "k < 65536 * 65536",
    "k * 65536 * 65536 < q",
    "k < max(65536, 1) * max(65536, 2)",
    "window(2147483647 * 2, 0)",
    "k < q - (-2147483647) + 3",
]


@pytest.mark.parametrize("text", TOO_LARGE)
def test_integers_beyond_32_bits(text: str) -> None:
    with pytest.raises(ExprError, match="32 bits"):
        parse(text, SCOPE, want="bool")


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
