"""``flashgen build``: its files in the folder named, or nothing."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flashgen.cli.app import app


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["build", *args])


def test_it_writes_a_kernel_and_its_manifest(here: Path) -> None:
    result = run("alibi", "--target", "a100", "-o", "made", "--no-confirm")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (here / "made").iterdir()) == ["kernel.py", "manifest.json"]
    ast.parse((here / "made" / "kernel.py").read_text(encoding="utf-8"))
    manifest = json.loads((here / "made" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["target"], manifest["name"]) == ("a100", "alibi")
    assert f"wrote {Path('made', 'kernel.py')}" in result.output


def test_the_compiler_confirms_it(here: Path) -> None:
    pytest.importorskip("triton.backends.compiler")
    (here / "small.yaml").write_text("name: small\nhead_dim: 16\nbackward: false\n")
    result = run("small.yaml", "--dtype", "fp16")
    assert result.exit_code == 0, result.output
    assert "B of spills a thread" in result.output
    assert "of the forward" in result.output
    manifest = json.loads((here / "out" / "small" / "h100" / "manifest.json").read_text(encoding="utf-8"))
    (kernel,) = manifest["kernels"]
    assert kernel["compiled"].keys() == {"smem_bytes", "registers", "spill_bytes"}
    assert kernel["compiled"]["registers"] > 0


def test_a_file_that_cannot_be_written_is_named(here: Path) -> None:
    (here / "made" / "kernel.py").mkdir(parents=True)
    result = run("causal", "--no-confirm", "-o", "made")
    assert result.exit_code == 1
    assert f"{Path('made', 'kernel.py')} cannot be written" in result.output


def test_a_gpu_that_does_not_exist_is_called_so(here: Path) -> None:
    result = run("causal", "--sram", "1MiB", "--no-confirm", "-o", "made")
    assert result.exit_code == 0, result.output
    assert "a GPU that does not exist" in result.stdout


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["nothing"], "no such file"),
        (["causal", "--target", "h1000"], "did you mean h100"),
        (["causal", "--target", "cpu"], "has no kernel"),
        (["causal", "--dtype", "fp64"], "no fp64 kernels"),
        (["causal", "--sram", "1KiB", "--no-confirm"], "the smallest that works needs"),
        (["causal", "--sram", "1KiB"], "the smallest that works needs"),
        (["causal", "--sram", "96KiB", "--target", "cpu"], "target cpu runs no thread blocks"),
    ],
)
def test_an_error_writes_nothing(here: Path, arguments: list[str], said: str) -> None:
    result = run(*arguments, "-o", "made")
    assert result.exit_code == 1
    assert said in result.output
    assert not (here / "made").exists()


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a/b", "..", "x\\n"])
def test_a_name_never_leaves_the_folder(here: Path, name: str) -> None:
    (here / "bad.yaml").write_text(f'name: "{name}"\nhead_dim: 16\n')
    assert run("bad.yaml", "--no-confirm").exit_code == 1
    assert sorted(p.name for p in here.iterdir() if p.name != "cache") == ["bad.yaml"]


def test_any_schedule_can_be_built(here: Path) -> None:
    result = run("causal", "--schedule", "standard_backward", "-o", "made", "--no-confirm")
    assert result.exit_code == 0, result.output
    made = sorted(p.name for p in (here / "made").iterdir())
    assert made == ["kernel_standard_backward.py", "manifest_standard_backward.json"]


def test_two_schedules_at_once_are_none(here: Path) -> None:
    result = run("causal", "--schedule", "flash2", "--backward", "-o", "made")
    assert result.exit_code != 0
    assert not (here / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        ["gemma2_local", "--schedule", "flash2"],
        ["causal", "--backward", "--seqlen", "512", "--batch", "1", "--heads", "8/2"],
    ],
)
def test_it_builds_the_plan_that_explain_shows(here: Path, given: list[str]) -> None:
    built = run(*given, "-o", "made", "--no-confirm").stdout.splitlines()
    shown = CliRunner().invoke(app, ["explain", *given]).stdout.replace("\n", " ")
    kernels = [line.split(": ") for line in built if "predicted, not compiled" in line]
    assert len(kernels) == shown.count("Kernel ") > 0
    for name, plan, numbers in kernels:
        smem = numbers.partition(" of shared")[0]
        assert f"Kernel {name.strip()} {plan}" in shown
        assert smem in shown.partition(f"Kernel {name.strip()} ")[2].partition("Kernel ")[0]


@pytest.mark.parametrize("command", ["build", "explain"])
def test_a_spec_for_inference_has_no_backward(here: Path, command: str) -> None:
    (here / "mine.yaml").write_text("name: mine\nhead_dim: 16\nbackward: false\n")
    result = CliRunner().invoke(app, [command, "mine.yaml", "--backward"])
    assert result.exit_code == 1
    assert "mine has no backward (its field `backward` is false)" in result.stderr
    assert [p.name for p in here.iterdir() if p.name != "cache"] == ["mine.yaml"]


@pytest.mark.slow
def test_by_default_it_is_the_plan_that_calls_run(here: Path) -> None:
    from flashgen.runtime.api import CompiledAttention
    from flashgen.spec.gallery import gallery
    from flashgen.spec.load import load_spec

    assert run("causal", "--dtype", "bf16", "-o", "made", "--no-confirm").exit_code == 0
    attention = CompiledAttention(load_spec(gallery()["causal"]).canonical_json())
    manifest = json.loads((here / "made" / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["modules"]) == ["backward_lse", "flash2"]
    for schedule, module in manifest["modules"].items():
        assert module["plan"] == json.loads(attention.source("h100", "bf16", schedule).plan.to_json())


def test_the_chosen_plan_s_time_comes_first(here: Path) -> None:
    result = run("causal", "--no-confirm", "-o", "made")
    forward, backward = (line for line in result.stdout.splitlines() if "us predicted on" in line)
    assert re.match(r"flash2: [\d,.]+ us predicted on .*H100.*, fp16, for B=4 Hq=32", forward)
    assert backward.startswith("backward_lse: ")
    assert result.stdout.startswith(forward)
    assert not re.search(r"\d ms\b", result.stdout)


def test_each_target_has_its_own_folder(here: Path) -> None:
    for target in ("h100", "a100"):
        assert run("causal", "--target", target, "--no-confirm", "--schedule", "flash2").exit_code == 0
    assert sorted(str(p.relative_to(here)) for p in here.glob("out/**/kernel.py")) == [
        str(Path("out", "causal", t, "kernel.py")) for t in ("a100", "h100")
    ]


@pytest.mark.parametrize("command", [["build"], ["explore"]])
def test_an_unwritable_path_is_said_before_the_work(
    here: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("work went before")

    for name in ("plan.search.choose", "plan.select.rankings", "explore.data.page_data"):
        monkeypatch.setattr(f"flashgen.{name}", worked)
    (here / "taken").write_text("a file")
    result = CliRunner().invoke(app, [*command, "causal", "-o", str(Path("taken", "folder", "x.html"))])
    assert result.exit_code == 1
    assert "taken is no folder" in result.output
    assert sorted(p.name for p in here.iterdir() if p.name != "cache") == ["taken"]


def test_the_twin_has_no_inline_assembly(here: Path) -> None:
    result = run("softcap", "--no-confirm", "--interpretable", "-o", "made")
    assert result.exit_code == 0, result.output
    kernel, twin = ((here / "made" / f"kernel{s}.py").read_text() for s in ("", "_interpretable"))
    assert "inline_asm" in kernel
    assert not re.search("inline_asm|TensorDescriptor|maxnreg", twin)
    assert f"wrote {Path('made', 'kernel_interpretable.py')}" in result.output
