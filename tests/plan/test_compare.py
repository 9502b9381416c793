"""GPUs side by side: a row for each, refusals with their reason, files of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flashgen.cli.app import app
from flashgen.errors import PlanError
from flashgen.explain.compare import compare
from flashgen.ir.workload import Workload
from flashgen.resources import folder
from flashgen.targets.target import load_target, read_target, target_names

from .programs import program

W = Workload(2, 8, 8, 4096, 4096)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An H100 of the user's own, with half the SMs."""
    text = (folder("specs") / "targets" / "h100.yaml").read_text(encoding="utf-8")
    path = tmp_path / "half.yaml"
    path.write_text(text.replace("name: h100", "name: half").replace("value: 132", "value: 66"))
    return path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, [*args])


def test_every_gpu_has_a_row_with_its_plan() -> None:
    gpus = [g for g in map(load_target, target_names()) if g.backend == "triton"]
    rows = compare(program(64, "causal"), gpus, ["fp16"], W)
    assert [r.target.name for r in rows] == [g.name for g in gpus]
    assert all(r.plan and r.us > 0 and r.smem <= r.target.smem_bytes and r.per_sm > 0 for r in rows)
    times = {r.target.name: r.us for r in rows}
    assert times["b200"] < times["h100"] < times["a100"] < times["t4"]


def test_a_refusal_is_a_row_with_its_reason() -> None:
    gpus = [load_target("h100"), load_target("t4")]
    rows = compare(program(64), gpus, ["bf16"], W)
    assert [bool(r.refused) for r in rows] == [False, True]
    assert "t4 has no bf16 kernels" in rows[1].refused
    small = compare(program(64, schedule="backward"), [load_target("h100", 2048)], ["bf16"], W)
    assert "the smallest that works needs" in small[0].refused


def test_a_file_of_ones_own_is_a_target(mine: Path) -> None:
    assert load_target(str(mine)).integer("sms") == 66
    result = run("compare-targets", "causal", "-t", "h100", "-t", str(mine), "--backward")
    assert result.exit_code == 0, result.output
    assert result.output.count("together") == 2
    assert "half" in run("explain", "causal", "--target", str(mine)).output


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(PlanError, match=r"no_such\.yaml cannot be read: No such file"):
        load_target("no_such.yaml")
    result = run("explain", "causal", "--target", "rtx5080")
    assert result.exit_code == 1
    assert "did you mean rtx5090? Known targets: a10, a100, b200" in result.output


def test_targets_lists_what_is_missing_and_what_that_disables(mine: Path) -> None:
    lines = mine.read_text(encoding="utf-8").splitlines()
    mine.write_text("\n".join(x for x in lines if not x.strip().startswith(("l2_rate", "tf32_rate"))))
    result = run("targets", str(mine))
    assert result.exit_code == 0, result.output
    assert "half: no l2_rate, so no time of the loads" in result.output
    assert "half: no tf32_rate, so no time of dots of fp32 tensors" in result.output
    assert set(read_target(mine, partial=True).missing()) == {"l2_rate", "tf32_rate"}
    refused = run("explain", "causal", "--target", str(mine))
    assert refused.exit_code == 1
    assert "numbers are missing: l2_rate (GB/s): no time of the loads" in refused.output


def test_targets_takes_names() -> None:
    result = run("targets", "a100")
    assert result.exit_code == 0, result.output
    assert "a100" in result.output
    assert "h100" not in result.output


def test_targets_shows_all_of_them() -> None:
    result = run("targets")
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in target_names())
    assert "t4: no bf16_rate, so no bf16 kernels" in result.output


def test_targets_may_be_named_with_commas() -> None:
    result = run("compare-targets", "causal", "-t", "h100,a100", "-t", "t4")
    assert result.exit_code == 0
    rows = [line.split()[0] for line in result.stdout.splitlines() if line.split()]
    found = [name for name in rows if name in target_names()]  # once in each part of the table
    assert list(dict.fromkeys(found)) == ["h100", "a100", "t4"]


@pytest.mark.parametrize("command", ["explain", "explore", "compare-targets", "build"])
def test_heads_that_a_call_would_be_refused_for_are_not_planned(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(command, "gpt_oss", "--heads", "8")
    assert result.exit_code == 1
    assert "--heads 8: gpt_oss fixes 64/8" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []
