"""Tuned plans: kept as files, found again, used for calls of sizes near theirs and for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flashgen.ir.workload import LONG, Workload
from flashgen.plan.plan import measured_near
from flashgen.runtime.source import best_plan, measured
from flashgen.runtime.tuned import VARIABLE, Tuned, recall
from flashgen.spec.model import AttentionSpec

SPEC = AttentionSpec(name="x", head_dim=64, mask="causal")
TEXT = SPEC.canonical_json()
WORK = Workload(2, 16, 4, 1000, 2000)


def tuned(spec: AttentionSpec = SPEC, work: Workload = WORK) -> Tuned:
    plan = best_plan(spec.canonical_json(), "h100", "bf16", LONG)
    kernel = replace(plan.kernels[0], num_warps=2)
    found = replace(plan, kernels=(kernel,), workload=work, measured_us=(7.5,))
    return Tuned(spec.canonical_json(), "NVIDIA H100", found, (9.0,), 40, "flashgen 0")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_what_is_written_is_found_again(folder: Path) -> None:
    tuned().write(folder)
    assert recall(TEXT, "flash2", "bf16", "h100") == (tuned().plan,)


@pytest.mark.parametrize("other", ["flash2 fp16 h100", "backward bf16 h100", "flash2 bf16 a100"])
def test_for_nothing_else(folder: Path, other: str) -> None:
    tuned().write(folder)
    schedule, dtype, target = other.split()
    assert recall(TEXT, schedule, dtype, target) == ()
    unlike = AttentionSpec(name="x", head_dim=64).canonical_json()
    assert recall(unlike, "flash2", "bf16", "h100") == ()


def test_calls_of_sizes_near_it_use_it(folder: Path) -> None:
    tuned().write(folder)
    found = measured(TEXT, "flash2", "bf16", "h100", described=True)
    for near in (WORK, replace(WORK, Nq=1999), replace(WORK, Nk=1000), replace(WORK, B=4)):
        assert measured_near(found, near) == 0
    for far in (replace(WORK, Nq=2001), replace(WORK, Nk=999), replace(WORK, B=5), replace(WORK, Hkv=1)):
        assert measured_near(found, far) is None


def test_the_nearest_of_several(folder: Path) -> None:
    small, large = replace(WORK, Nq=800), replace(WORK, Nq=1800)
    for w in (small, large):
        tuned(work=w).write(folder)
    found = measured(TEXT, "flash2", "bf16", "h100", described=True)
    assert found[measured_near(found, replace(WORK, Nq=1000)) or 0].workload == small
    assert found[measured_near(found, replace(WORK, Nq=1500)) or 0].workload == large


def test_layouts_that_descriptors_cannot_read_use_no_plan_with_them(folder: Path) -> None:
    t = tuned()
    described = replace(t.plan, kernels=(replace(t.plan.kernels[0], loads="descriptor"),))
    replace(t, plan=described).write(folder)
    assert measured(TEXT, "flash2", "bf16", "h100", described=True)
    assert not measured(TEXT, "flash2", "bf16", "h100", described=False)


@pytest.mark.parametrize("damage", ["half", "other kernels", "not measured"])
def test_a_file_that_does_not_fit_is_passed_over_and_named(folder: Path, damage: str) -> None:
    t = tuned()
    if damage == "other kernels":
        order = replace(t.plan.kernels[0].order, axes=("b", "hkv", "k_tile"))
        t = replace(t, plan=replace(t.plan, kernels=(replace(t.plan.kernels[0], order=order),)))
    if damage == "not measured":
        t = replace(t, plan=replace(t.plan, measured_us=()))
    path = t.write(folder)
    if damage == "half":
        path.write_text(path.read_text()[:200])
    with pytest.warns(UserWarning, match=f"{path.name} is passed over"):
        assert recall(TEXT, "flash2", "bf16", "h100") == ()
