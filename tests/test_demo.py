"""The demo's parts: the kernel it writes runs on its own in Triton's interpreter, and errors are told."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from flashgen.demo import main, measure
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.verify.case import Case

ROOT = Path(__file__).resolve().parents[1]


def test_its_settings_name_a_spec_and_cases() -> None:
    chosen = main.settings()
    assert chosen["spec"] in gallery()
    for key in (*main.ON_CPU.values(), *main.ON_GPU.values()):
        assert [Case(**fields) for fields in chosen[key]]


def test_a_committed_kernel_runs_in_the_interpreter_as_it_stands() -> None:
    name = main.settings()["spec"]
    case = Case(1, 2, 1, 20, 150, "fp16")
    result = measure.interpreted(load_spec(gallery()[name]), case, ROOT / "generated" / f"{name}.py")
    assert result.findings == ()
    assert 0 < result.ours.max < 1e-2


def test_a_wrong_result_is_told() -> None:
    spec = load_spec(gallery()[main.settings()["spec"]])
    case = Case(1, 2, 1, 20, 30, "fp32")
    wrong = measure.run(spec, case, lambda q, k, v: (q.clone(), q[..., 0].float()))
    assert wrong.findings
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(main._table([("somewhere", case, wrong)]))
    assert "missed" in console.export_text()
