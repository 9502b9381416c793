"""The command line as a user meets it. Nothing is written on an error, and nothing over a file."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flashgen.cli import console
from flashgen.cli.app import COMMANDS, app
from flashgen.spec import load_spec
from flashgen.spec.gallery import gallery


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def test_new_writes_a_sound_commented_spec(here: Path) -> None:
    result = run("new", "my_attention")
    assert result.exit_code == 0
    text = (here / "my_attention.yaml").read_text(encoding="utf-8")
    assert load_spec(here / "my_attention.yaml").name == "my_attention"
    assert sum(line.startswith("#") for line in text.splitlines()) > 15
    assert max(map(len, text.splitlines()[1:])) <= 110
    assert run("check", "my_attention.yaml").exit_code == 0


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a/b", "a.b", "A", "class", "", "x" * 60, "..", "a\nb"])
def test_new_takes_no_path_and_no_code(here: Path, name: str) -> None:
    result = run("new", name)
    assert result.exit_code == 1
    assert "error:" in result.stderr
    assert list(here.iterdir()) == []


def test_new_overwrites_nothing(here: Path) -> None:
    (here / "mine.yaml").write_text("mine", encoding="utf-8")
    (here / "link.yaml").symlink_to(here / "target")
    for name in ("mine", "link"):
        assert run("new", name).exit_code == 1
    assert (here / "mine.yaml").read_text(encoding="utf-8") == "mine"
    assert not (here / "target").exists()


def test_check_the_gallery(here: Path) -> None:
    result = run("check", *gallery())
    assert result.exit_code == 0
    assert result.stdout.count("OK ") == len(gallery())
    assert list(here.iterdir()) == []


BAD = """\
name: My-Attention
desription: nothing works
head_dim: 100
heads: {q: 12, kv: 5}
score: s + slope[h] * (k - qpos)
mask: |
  causal &
    (k < limit)
split: 2
tf32: no
tf32: false
inputs:
  slopes: {shape: [head]}
"""


def test_check_shows_every_problem_at_its_place(here: Path, golden: Callable[[str], None]) -> None:
    (here / "bad.yaml").write_text(BAD, encoding="utf-8")
    result = run("check", "bad.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    golden(result.stderr)
    assert [p.name for p in here.iterdir()] == ["bad.yaml"]


def test_check_says_what_a_mask_saves(here: Path) -> None:
    mask = "mask: causal & (doc[b, qpos] == doc[b, k])"
    inputs = "inputs: {doc: {shape: [batch, seqlen_k], dtype: int}}"
    Path("a.yaml").write_text(f"name: documents\nhead_dim: 64\n{mask}\n{inputs}\n")
    said = " ".join(run("check", "a.yaml").stdout.split())
    assert "at seqlen 4,096, in tiles of 128 x 128, 528 of 1,024 tiles (52%) are visited, 0 of them" in said
    assert "`doc[b, qpos] == doc[b, k]` gives no bounds" in said
    assert "mask:" not in run("check", "full").stdout


def test_check_says_what_is_learned_and_what_is_dropped(here: Path) -> None:
    assert "sinks[heads] (float, learned), sink sinks[h]" in run("check", "gpt_oss").stdout
    assert "dropout 0.1" in run("check", "gpt2").stdout
    (here / "a.yaml").write_text("name: a\nhead_dim: 64\nbackward: false\n", encoding="utf-8")
    assert "inference only" in run("check", "a.yaml").stdout


def test_what_new_leaves_out_as_a_comment_is_sound(here: Path) -> None:
    run("new", "mine")
    text = (here / "mine.yaml").read_text(encoding="utf-8")
    fields = ("dropout", "sink", "heads", "scale")
    lines = [
        line.removeprefix("# ") if line.startswith(tuple(f"# {f}: " for f in fields)) else line
        for line in text.split("\n")
    ]
    lines.append("  sinks: {shape: [heads], grad: true}")
    whole = "\n".join(lines[:-1]).replace("inputs:\n", f"inputs:\n{lines[-1]}\n")
    (here / "all.yaml").write_text(whole, encoding="utf-8")
    said = run("check", "all.yaml")
    assert said.exit_code == 0, said.stderr
    assert "sink sinks[h], dropout 0.1" in said.stdout


def test_check_goes_on_to_the_next_file(here: Path) -> None:
    (here / "bad.yaml").write_text(BAD, encoding="utf-8")
    good = next(iter(gallery()))
    result = run("check", "bad.yaml", "missing.yaml", good)
    assert result.exit_code == 1
    assert "missing.yaml: error: no such file" in result.stderr
    assert f"OK {good}" in result.stdout


def test_check_hints(here: Path) -> None:
    (here / "a.yaml").write_text(
        "name: a\nhead_dim: 64\nscore: where(k <= qpos, s, -inf)\nconstants: {cap: 3}\n"
        "inputs: {len: {shape: [batch], dtype: int}}\n",
        encoding="utf-8",
    )
    result = run("check", "a.yaml")
    assert result.exit_code == 0
    assert "hint: score:" in result.stdout
    assert "hint: inputs.len is never read" in result.stdout
    assert "hint: constants.cap is never used" in result.stdout


def test_list_has_a_line_for_each_variant() -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines if line[:1].strip()] == list(gallery())


def test_schema_prints_or_writes(here: Path) -> None:
    printed = run("schema").stdout
    assert json.loads(printed)["properties"]["head_dim"]
    assert run("schema", "-o", "s.json").exit_code == 0
    assert (here / "s.json").read_text(encoding="utf-8") == printed
    assert run("schema", "-o", "no/such/folder.json").exit_code == 1


def test_help_names_every_command() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in COMMANDS)
    assert run("--version").stdout.startswith("flashgen ")


def test_check_starts_without_torch_and_as_a_module() -> None:
    name = next(iter(gallery()))
    code = (
        "import sys; from flashgen.cli.app import main\n"
        f"sys.argv = ['flashgen', 'check', {name!r}]\n"
        "try: main()\nexcept SystemExit as e: print(e.code)\n"
        "print([m for m in ('torch', 'triton', 'sympy') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-2:] == ["0", "[]"]
    ran = subprocess.run(
        [sys.executable, "-m", "flashgen", "check", name], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(f"OK {name}")


def test_verify_says_what_ran_and_what_did_not(here: Path) -> None:
    pytest.importorskip("hypothesis")
    result = run("verify", "causal", "--examples", "1")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    ok, ran = result.stdout.splitlines()
    assert ok.startswith("OK causal on cpu: agrees with the fp64 oracle in 1 call: fp32")
    assert ran.startswith("ran on cpu; not run: triton-interpreted (--backend triton-interpreted), cuda (")


@pytest.mark.parametrize(
    "given, said", [("", "a spec without a name"), ("causal/", "is a folder"), (".", "is a folder")]
)
def test_a_name_that_is_no_file(here: Path, given: str, said: str) -> None:
    (here / "causal").mkdir()
    result = run("check", given)
    assert result.exit_code == 1
    assert said in result.stderr
    assert run("check", "causal").exit_code == 0, "a folder does not hide the gallery's spec"


@pytest.mark.parametrize(
    "extra, options, said",
    [
        ("", [], ", gradients too"),
        ("", ["--no-gradients"], "; gradients not compared (--no-gradients)"),
        ("backward: false\n", [], "; gradients not compared (the spec's field `backward` is false)"),
    ],
)
def test_verify_says_whether_gradients_are_compared(
    here: Path, extra: str, options: list[str], said: str
) -> None:
    (here / "small.yaml").write_text(f"name: small\nhead_dim: 8\n{extra}", encoding="utf-8")
    result = run("verify", "small.yaml", "--examples", "2", *options)
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("schedule", ["flash1", "standard"])
def test_verify_runs_another_algorithm(here: Path, schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_module = importlib.import_module("flashgen.verify.run")
    seen: list[str] = []
    lowered = run_module._lowered

    def told(spec: str, name: str) -> Any:
        seen.append(name)
        return lowered(spec, name)

    monkeypatch.setattr(run_module, "_lowered", told)
    (here / "small.yaml").write_text("name: small\nhead_dim: 8\n", encoding="utf-8")
    result = run("verify", "small.yaml", "--examples", "3", "--schedule", schedule)
    assert result.exit_code == 0, result.output
    assert f"OK small on cpu ({schedule})" in result.stdout
    assert ", gradients too" in result.stdout
    assert {name.removesuffix("_lse") for name in seen} == {schedule, f"{schedule}_backward"}


def test_verify_names_the_algorithms_there_are(here: Path) -> None:
    result = run("verify", "causal", "--schedule", "flash3")
    assert result.exit_code == 1
    assert "no forward schedule is called 'flash3'; there are flash2, flash1, standard" in result.stderr


def test_long_work_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(s) for s in range(0, 1000, 4))
    monkeypatch.setattr("flashgen.cli.console.time.monotonic", lambda: next(clock))
    with console.calls("small on cpu", 40) as step:
        for _ in range(42):
            step()
    lines = capsys.readouterr().err.splitlines()
    assert 5 < len(lines) < 40
    assert lines[0].startswith("small on cpu: call ")
    assert re.fullmatch(r"small on cpu: call \d+ of 40, about \d+ (s|min) left", lines[3])
    assert lines[-1].startswith("small on cpu: failed; shrinking, call 4")
