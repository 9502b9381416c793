"""Outputs that cannot be written: one line, status 1, no traceback, and before any work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashgen.cli import console
from flashgen.cli.app import app
from flashgen.cli.files import writable

FULL = Path("/dev/full")


def run(*args: str, **env: str) -> subprocess.Popen[str]:
    """The command with nobody reading yet."""
    return subprocess.Popen(
        [sys.executable, "-m", "flashgen", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


@pytest.mark.skipif(not FULL.exists(), reason="has no /dev/full")
@pytest.mark.parametrize("arguments", [["list"], ["--version"], ["schema"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(arguments: list[str], unbuffered: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flashgen", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("arguments", [["list"], ["schema"]])
def test_a_reader_that_went_away_hears_nothing(arguments: list[str]) -> None:
    process = run(*arguments, PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_a_closed_output_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m flashgen --version >&-"], stderr=subprocess.PIPE, text=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ["explore", "full", "-o", "file/page.html"],
        ["explore", "full", "--png", "file/x.png"],
        ["explore", "full", "-o", "folder"],
        ["paper", "-o", "file"],
        ["resources", "full", "--out", "file"],
        ["calibrate", "-o", "file/x.yaml"],
        ["bench", "--dry-run", "--out", "file/x"],
        ["demo", "-o", "file"],
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.output
    assert "cannot be written" in result.stderr
    assert result.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_trying_leaves_no_trace(tmp_path: Path) -> None:
    writable(tmp_path / "a" / "b" / "c.txt", tmp_path / "d.txt", None)
    assert list(tmp_path.iterdir()) == []


def test_a_new_spec_names_no_path_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["new", "mine"]).exit_code == 0
    first, *rest = (tmp_path / "mine.yaml").read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    assert "`flashgen schema -o schema.json` writes it" in rest[0]
    assert not any(x.startswith("/") for line in (first, *rest) for x in line.replace("=", " ").split())
    assert CliRunner().invoke(app, ["schema", "-o", "schema.json"]).exit_code == 0
    assert json.loads((tmp_path / "schema.json").read_text(encoding="utf-8"))


def test_short_work_says_nothing_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("planning", quiet=True) as tell:
        tell("h100")
    with console.progress("compiling") as tell:
        tell("h100")
    assert capsys.readouterr().err == "compiling ...\n"
