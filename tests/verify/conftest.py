"""What many backends are compared with on the same cases is computed once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case

check = importlib.import_module("flashgen.verify.check")


def _once(function: Callable[[AttentionSpec, Case, str], Any]) -> Callable[[AttentionSpec, Case, str], Any]:
    @lru_cache(maxsize=512)
    def kept(spec: str, case: Case, device: str) -> Any:
        return function(AttentionSpec.from_json(spec), case, device)

    return lambda spec, case, device="cpu": kept(spec.canonical_json(), case, device)


EXPECTED = {name: _once(getattr(check, name)) for name in ("expected", "expected_gradients")}


@pytest.fixture
def same_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that run a backend after the other on the same small cases."""
    for name, function in EXPECTED.items():
        monkeypatch.setattr(check, name, function)
