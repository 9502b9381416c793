"""Predictions beside the compiler: what is drawn, counted and written, and one kernel really compiled."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flashgen.backends.triton.door import Triton
from flashgen.bench.usage import Usage, measure, work
from flashgen.bench.usage_tables import HEAD, csv_text, markdown, rows
from flashgen.cli.app import app
from flashgen.plan.backend import Verdict
from flashgen.plan.plan import Measured
from flashgen.plan.search import candidates
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.targets.target import load_target


def test_a_sample_is_drawn_from_every_kernel_and_is_the_same_again() -> None:
    specs, targets = [load_spec(find("causal"))], [load_target("a100"), load_target("t4")]
    drawn = [list(work(specs, targets, sample=3)) for _ in range(2)]
    assert [w.candidate for w in drawn[0]] == [w.candidate for w in drawn[1]]
    assert len(drawn[0]) == 2 * (1 + 2) * 3
    everything = list(work(specs, targets[:1], ["flash2"]))
    kept = [c for c in candidates(everything[0].lowered.program, 0, targets[0], "fp16") if not c.rejected]
    assert [w.candidate for w in everything] == kept
    assert not list(work(specs, targets[1:], dtype="bf16")), "t4 has no bf16"


def test_measuring_stops_in_time_and_keeps_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = list(work([load_spec(find("causal"))], [load_target("h100")], ["flash2"], sample=4))
    answers = iter([Verdict(None, "boom"), *[Verdict(Measured(1000, 99, 0))] * 3])
    monkeypatch.setattr(Triton, "compile", lambda *given: next(answers))
    heard: list[int] = []
    found = measure(waiting, 2, tell=heard.append)
    assert sorted(heard) == [1, 2, 3, 4]
    assert sorted(u.smem or 0 for u in found) == [0, 1000, 1000, 1000]
    assert [u.error for u in found if u.smem is None] == ["boom"]
    assert measure(waiting, 2, until=time.monotonic() - 1) == []


def one(**changed: Any) -> Usage:
    fields: dict[str, Any] = {
        "target": "a100", "arch": "sm_80", "spec": "s", "schedule": "backward", "kernel": "s_bwd_dq",
        "dtype": "fp16", "plan": "p", "predicted_smem": 1000, "smem": 1000, "predicted_registers": 90,
        "registers": 100, "predicted_spill": 0, "spill": 0,
    }  # fmt: skip
    return Usage(**{**fields, **changed})


def test_the_table_counts_what_the_bars_ask() -> None:
    found = [
        one(),
        one(predicted_smem=1100),
        one(predicted_smem=1200, spill=300),
        one(predicted_smem=990),
        one(smem=None, registers=None, spill=None, error="did not compile"),
    ]
    (row,) = rows(found)
    cells = dict(zip(HEAD, row, strict=True))
    assert (cells["candidates"], cells["compiled"]) == ("5", "4")
    assert (cells["smem exact"], cells["smem >="], cells["smem within 10%"]) == ("25%", "75%", "75%")
    assert cells["smem, least and most"] == "0.99 to 1.20"
    assert cells["spills foreseen"] == "75%", "one spills more than is allowed, and was not foreseen"
    assert "- 1 candidates of a100: did not compile" in markdown(found)
    assert [r["predicted_smem"] for r in csv.DictReader(csv_text(found).splitlines())][1] == "1100"
    assert rows(found, "kernel")[0][2] == "backward: bwd_dq"


def test_the_command_compiles_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton.backends.compiler")
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text("name: small\nhead_dim: 16\n")
    wanted = [str(tmp_path / "small.yaml"), "--target", "a100", "--sample", "1", "--schedule", "flash2"]
    result = CliRunner().invoke(app, ["resources", *wanted, "-j", "1", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    (line,) = csv.DictReader((tmp_path / "out" / "resources.csv").read_text().splitlines())
    assert int(line["smem"]) <= int(line["predicted_smem"])
    assert int(line["registers"]) > 0
    assert "a100 (sm_80)" in (tmp_path / "out" / "resources.md").read_text()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--target", "cpu"], "cpu has no compiler"),
        (["--schedule", "flash3"], "'flash3' is none of flash2"),
        (["--by", "day"], "'day' is none of kernel, spec, schedule"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["resources", "causal", *arguments])
    assert result.exit_code == 1
    assert said in result.output
