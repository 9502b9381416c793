"""The door holds: a backend that the house has never seen gets plan, source and manifest through it."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from flashgen import languages
from flashgen.driver import emit_source, lower_spec, plan_for, schedules_of
from flashgen.errors import PlanError
from flashgen.explain.words import explain
from flashgen.ir.dump import dump
from flashgen.ir.workload import Workload
from flashgen.plan import backend
from flashgen.plan.plan import Plan
from flashgen.plan.select import proved, rankings
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.targets.target import Target, load_target

from .listing import REGISTERS, SIDES, Listing

ROOT = Path(__file__).resolve().parents[2]
WORK = Workload(2, 8, 8, 1024, 1024)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setattr(languages, "_KNOWN", dict(languages._KNOWN))
    backend.register(Listing())
    return load_target("h100").model_copy(update={"backend": "listing"})


@pytest.mark.parametrize("name", ["causal", "alibi", "gpt_oss"])
def test_a_third_backend_plans_and_prints(name: str, target: Target) -> None:
    spec = load_spec(gallery()[name])
    found = []
    for schedule in schedules_of(spec):
        known = lower_spec(spec, schedule)
        plan = plan_for(known, target, "bf16", WORK)
        assert plan.backend == "listing"
        assert {n for k in plan.kernels for _, n in k.sides} <= set(SIDES)
        assert Plan.from_json(plan.to_json()) == plan
        ranked = rankings(known.program, target, "bf16", WORK, partial(emit_source, known))
        best = proved(known.program, target, "bf16", WORK, ranked)
        assert best.kernels == plan.kernels
        said = io.StringIO()
        Console(file=said, width=200).print(explain(known.program, target, "bf16", WORK))
        assert f"~{REGISTERS} of 255" in said.getvalue()
        found.append((known, plan))
    source = emit_source(*found[0], *found[1:])
    assert source.text == "\n".join(dump(known.program) for known, _ in found)
    assert json.loads(json.dumps(source.manifest))["spec"] == spec.canonical_json()
    assert [k.name for k in source.kernels] == [k.name for known, _ in found for k in known.program.kernels]


def test_a_target_file_may_name_it(target: Target, tmp_path: Path) -> None:
    text = (ROOT / "specs" / "targets" / "h100.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("backend: triton", "backend: listing"), encoding="utf-8")
    assert backend.backend_of(load_target(str(path))).name == target.backend


def test_what_no_room_is_there_for_is_said() -> None:
    with pytest.raises(PlanError, match="no backend is called 'metal'"):
        backend.backend_named("metal")


#: Behind the door: what launches, which is torch's side of it.
LAUNCHING = ("flashgen/runtime/", "flashgen/tune/", "flashgen/backends/", "flashgen/paper/measured.py")


def test_nobody_looks_behind_the_door() -> None:
    """Triton's room is imported by itself and by what launches its kernels."""
    inside = re.compile(r"(from|import) flashgen\.backends\.triton")
    files = [p for p in (ROOT / "flashgen").rglob("*.py") if inside.search(p.read_text(encoding="utf-8"))]
    names = [p.relative_to(ROOT).as_posix() for p in files]
    assert names
    assert [n for n in names if not n.startswith(LAUNCHING)] == []
