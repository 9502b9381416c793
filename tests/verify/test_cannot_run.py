"""What is no verdict on a kernel: surroundings that cannot run it, a truth that is no number, Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flashgen
from flashgen.cli.app import app
from flashgen.errors import CannotRun
from flashgen.verify import environment, search, verify
from flashgen.verify.case import Case
from flashgen.verify.search import Interrupted, Report
from flashgen.verify.worker import Worker, shared_worker

from ..hidden import BROKEN_NUMPY, surroundings


@pytest.fixture
def own_worker() -> Iterator[Worker]:
    """A process of this test's own."""
    shared_worker.cache_clear()
    yield shared_worker()
    shared_worker().close()
    shared_worker.cache_clear()


def test_an_interpreter_that_does_not_work_is_no_wrong_kernel(
    own_worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in surroundings(BROKEN_NUMPY, tmp_path / "broken").items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(
        app, ["verify", "causal", "--examples", "2", "--backend", "triton-interpreted"]
    )
    assert result.exit_code == CannotRun.status, result.output
    assert "FAILED" not in result.output
    for word in ("only 0-dimensional arrays", "numpy", "an older numpy or a newer Triton", "--backend cpu"):
        assert word in result.output


def test_without_triton_nothing_is_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashgen.toolchain.triton_version", lambda: None)
    spec = flashgen.AttentionSpec(name="plain", head_dim=16)
    with pytest.raises(CannotRun, match="needs Triton, which is not installed"):
        verify(spec, "triton-interpreted", 1)
    with pytest.raises(CannotRun, match="needs Triton"):
        environment.need_interpreter()


def half(score: str) -> flashgen.AttentionSpec:
    inputs = {"w": {"shape": ["heads", "seqlen_k"], "grad": True}}
    return flashgen.AttentionSpec(name="half", head_dim=16, score=score, inputs=inputs)


def test_a_truth_that_is_no_number_is_drawn_anew() -> None:
    report = verify(half("s + log(w[h, k])"), "cpu", 6)
    assert report.passed, report.failure
    assert report.examples == 6
    assert report.undefined > 0


def test_where_every_truth_is_no_number_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "asks_nothing", lambda *_: True)
    report = verify(half("s + w[h, k]"), "cpu", 3)
    assert report.failure is None
    assert not report.passed
    result = CliRunner().invoke(app, ["verify", "alibi", "--examples", "2"])
    assert result.exit_code == CannotRun.status
    assert "CANNOT SAY alibi on cpu" in result.output
    assert "NaN" in result.output


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int, wrong_from: int = 1000) -> None:
    """Ctrl-C after so many calls, in which so many keys and more are wrong."""
    left = iter(range(after))

    def of(spec: object, case: Case, *arguments: Any) -> tuple[str, ...]:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return ("out: wrong",) if case.seqlen_k >= wrong_from else ()

    monkeypatch.setattr(search, "problems_of", of)


def test_ctrl_c_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, 2)
    with pytest.raises(Interrupted) as stopped:
        verify(flashgen.AttentionSpec(name="plain", head_dim=16), "cpu", 10)
    assert isinstance(stopped.value.report, Report)
    assert stopped.value.report.examples == 2
    interrupting(monkeypatch, 2)
    result = CliRunner().invoke(app, ["verify", "causal", "--examples", "10", "--seed", "7"])
    assert result.exit_code == 130
    assert "STOPPED causal on cpu: 2 calls of 10 agreed with the fp64 oracle; `--seed 7`" in result.output


def test_ctrl_c_while_shrinking_shows_the_smallest_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, 20, wrong_from=30)
    result = CliRunner().invoke(app, ["verify", "causal", "--examples", "100"])
    assert result.exit_code == 130
    assert "the smallest so far" in result.output
    assert "out: wrong" in result.output
