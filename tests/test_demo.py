"""The demo's parts: the kernel it writes runs on its own in Triton's interpreter, and errors are told."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from flashgen.cli.app import COMMANDS
from flashgen.demo import main, measure
from flashgen.driver import emit_source, lower_spec, plan_for
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.targets.target import load_target
from flashgen.verify.case import Case


def test_its_settings_name_a_spec_and_cases() -> None:
    chosen = main.settings()
    assert chosen["spec"] in gallery()
    for key in (*main.ON_CPU.values(), *main.ON_GPU.values()):
        assert [Case(**fields) for fields in chosen[key]]


def test_the_portable_form_of_a_kernel_runs_in_the_interpreter(tmp_path: Path) -> None:
    spec = load_spec(gallery()[main.settings()["spec"]]).replace(heads=None)
    lowered = lower_spec(spec)
    plan = plan_for(lowered, load_target("h100"), "bf16")
    kernel = tmp_path / "portable.py"
    kernel.write_text(emit_source(lowered, plan, interpretable=True).text, encoding="utf-8")
    result = measure.interpreted(spec, Case(1, 2, 1, 20, 150, "fp16"), kernel)
    assert result.findings == ()
    assert 0 < result.ours.max < 1e-2


def test_it_ends_with_commands_that_there_are() -> None:
    assert len(main.NEXT) == 3
    for command, what in main.NEXT.items():
        assert command.split()[:1] == ["flashgen"]
        assert command.split()[1] in COMMANDS
        assert len(f"  {command:<35}  {what}") <= 80


def test_a_wrong_result_is_told() -> None:
    spec = load_spec(gallery()[main.settings()["spec"]])
    case = Case(1, 2, 1, 20, 30, "fp32")
    wrong = measure.run(spec, case, lambda q, k, v: (q.clone(), q[..., 0].float()))
    assert wrong.findings
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(main.errors_table([("somewhere", case, wrong)]))
    assert "missed" in console.export_text()
