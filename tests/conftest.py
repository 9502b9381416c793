"""Shared by all tests: golden files, the ``gpu`` marker, ``--quick`` and hypothesis profiles.

A golden test takes the ``golden`` fixture and calls it with a text. ``pytest --update-golden`` rewrites
the files; the diff is then read like any other change.

``pytest --quick`` leaves out the tests marked ``slow``, and skips each other test where it compiles or
starts a process: the compiler's, Triton's interpreter, a browser.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

GOLDEN = Path(__file__).parent / "golden"

_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", max_examples=20, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("dev", max_examples=30, **_COMMON)
settings.register_profile("quick", max_examples=10, **_COMMON)
settings.register_profile("thorough", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from this run")
    parser.addoption("--quick", action="store_true", help="leave out what is slow or starts a process")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--quick"):
        return
    settings.load_profile("quick")
    config.option.markexpr = " and ".join(filter(None, [config.option.markexpr, "not slow"]))
    sys.addaudithook(_start_no_process)
    if importlib.util.find_spec("triton"):
        import triton

        triton.compile = _compile_nothing  # compiles long before it starts ptxas


def _start_no_process(event: str, args: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and "PYTEST_CURRENT_TEST" in os.environ:
        pytest.skip("starts a process, which --quick leaves out")


def _compile_nothing(*args: object, **options: object) -> NoReturn:
    pytest.skip("compiles, which --quick leaves out")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``golden(text, suffix=".txt")``: ``text`` equals the golden file named after the test."""
    name = re.sub(r"[^\w.+-]+", "-", request.node.name).strip("-")
    folder = GOLDEN / Path(request.node.fspath).relative_to(GOLDEN.parent).with_suffix("")

    def check(text: str, suffix: str = ".txt") -> None:
        path = folder / (name + suffix)
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        if not path.exists():
            pytest.fail(f"no golden file {path}; write it with: pytest --update-golden {request.node.nodeid}")
        expected = path.read_text(encoding="utf-8")
        if text != expected:
            diff = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), "golden", "now", lineterm="", n=2
            )
            pytest.fail(
                "\n".join([f"differs from {path} (--update-golden accepts the change):", *list(diff)[:80]])
            )

    return check
