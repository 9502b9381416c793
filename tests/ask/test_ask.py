"""The commands' answers from Python: small objects that print, and show themselves in a notebook."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flashgen
from flashgen.cli.app import app

SPEC = flashgen.AttentionSpec(
    name="asked",
    head_dim=16,
    mask="causal",
    score="s + slopes[h] * (k - qpos)",
    inputs={"slopes": {"shape": ["heads"], "grad": True}},
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))


def test_explain_says_what_the_command_says() -> None:
    found = flashgen.explain("causal", "a100", seqlen=4096, heads=(8, 2))
    words = CliRunner().invoke(app, ["explain", "causal", "-t", "a100", "--seqlen", "4096", "--heads", "8/2"])
    assert str(found).splitlines()[:2] == words.stdout.splitlines()[:2]
    assert all(line in str(found) for line in words.stdout.splitlines() if line.startswith("Kernel"))
    assert found.us == found.plan.predicted_us > 0
    chosen = f"<causal on a100, fp16, flash2: {found.us:,.1f} us predicted; causal_fwd: BLOCK_M"
    assert repr(found).startswith(chosen)
    assert found._repr_html_().startswith("<pre>")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.us = 0.0  # type: ignore[misc]


def test_explain_of_a_backward_has_the_derivatives() -> None:
    found = flashgen.explain(SPEC, backward=True, sram="96KiB")
    assert "d score / d slopes[h] = float(k - qpos)" in str(found)
    assert found.plan.schedule == "backward"
    assert found.plan.smem_bytes <= 96 * 1024


def test_explore_gives_the_page(tmp_path: Path) -> None:
    found = flashgen.explore(SPEC, "a100", seqlen=128, batch=1, heads=1)
    path = found.save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == found.html
    assert repr(found).startswith("<asked on a100: a page of ")
    assert found._repr_html_().startswith("<iframe srcdoc=")
    with pytest.raises(flashgen.FlashgenError, match="cannot be written"):
        found.save(tmp_path)


def test_verify_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    found = flashgen.verify(SPEC, examples=3)
    assert found.passed
    assert (
        str(found) == repr(found) == "OK asked on cpu: agrees with the fp64 oracle in 3 calls, gradients too"
    )
    monkeypatch.setattr("flashgen.verify.search.check", lambda *_: ["out is wrong"])
    failed = flashgen.verify(SPEC, examples=3)
    assert not failed.passed
    assert str(failed).startswith("FAILED asked on cpu, smallest call found:\n   out is wrong\n\nimport")
    assert "<pre>FAILED" in failed._repr_html_()


@pytest.mark.parametrize("ask", [flashgen.explain, flashgen.explore, flashgen.verify])
def test_a_spec_that_is_none_is_named(ask: Any) -> None:
    with pytest.raises(flashgen.SpecError, match="no such file"):
        ask("causel")
    assert next(iter(inspect.signature(ask).parameters)) == "spec"


ORDERS = [
    "import flashgen.verify.oracle; from flashgen.explore import page",
    "from flashgen import verify, explore; from flashgen.verify.oracle import oracle",
]


def test_packages_are_functions_in_every_order_of_imports() -> None:
    for order in ORDERS:
        code = f"{order}\nimport flashgen, flashgen.verify.oracle\n"
        code += "assert callable(flashgen.verify) and callable(flashgen.explore)\n"
        code += "assert flashgen.verify.Case and flashgen.verify.__path__ and flashgen.explore.__path__"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_dir_shows_the_api_alone() -> None:
    assert dir(flashgen) == sorted([*flashgen.__all__, "__version__"])
    assert all(hasattr(flashgen, name) for name in flashgen.__all__)
    assert (Path(flashgen.__file__).parent / "py.typed").exists()


def test_a_source_prints_as_its_text() -> None:
    found = flashgen.compile(SPEC, "h100").source()
    assert str(found) == found.text
    assert repr(found).startswith("<asked_fwd for h100, fp16: print() shows the source")
    shown = found._repr_html_()
    assert "<pre>" in shown
    assert "asked_fwd" in shown
