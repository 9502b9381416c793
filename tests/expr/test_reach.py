"""How large an expression may become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashgen.expr.parse import SCORE_SCOPE, InputType, parse
from flashgen.expr.reach import may_be_large, reach

SCOPE = replace(
    SCORE_SCOPE,
    inputs={"w": InputType(1, "float"), "n": InputType(1, "int"), "seen": InputType(1, "bool")},
)
MODERATE = [
    "s",
    "s * 50",
    "softcap(s, 50.0)",
    "softcap(s + w[h] * (k - qpos), 30.0)",
    "s - 0.5 * abs(q - k)",
    "s + alibi(0.25)",
    "s + clip(w[h], -10.0, 10.0)",
    "s * sigmoid(w[h])",
    "s * exp(min(w[h], 4.0))",
    "where(n[b] < k, s, -inf)",
    "s - 10000.0 * int(seen[k])",
    "s + float((k + n[b]) % 64)",
    "s + sin(w[h])",
    "s / max(abs(w[h]), 0.5)",
    "log(float(k + 1)) * s",
]
LARGE = [
    "s + w[h]",
    "s * w[h]",
    "s + w[h] * (k - qpos)",
    "s + 0.5 * n[b]",
    "s - 1e9 * int(seen[k])",
    "where(k < 4, s, -3.4e38)",
    "s / w[h]",
    "s / (s * 0.0)",
    "exp(s)",
    "s * s",
    "s + sin(w[h]) * 1e6",
    "s - 4.0 * abs(q - k)",
]


@pytest.mark.parametrize("text", MODERATE)
def test_moderate(text: str) -> None:
    assert not may_be_large(parse(text, SCOPE, want="float"))


@pytest.mark.parametrize("text", LARGE)
def test_large(text: str) -> None:
    assert may_be_large(parse(text, SCOPE, want="float"))


def test_ends() -> None:
    assert reach(parse("abs(s) - 1.0", SCOPE, want="float")) == (-1.0, 1023.0)
