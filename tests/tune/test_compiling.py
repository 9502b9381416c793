"""Candidates compiled side by side: each succeeds or fails alone, whatever it does to its process."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from flashgen.ir.workload import LONG
from flashgen.runtime.source import best_plan
from flashgen.spec.model import AttentionSpec
from flashgen.tune import compiling
from flashgen.tune.compiling import Job, compile_all

SPEC = AttentionSpec(name="x", head_dim=16).canonical_json()
PLAN = best_plan(SPEC, "h100", "bf16", LONG)


def job(number: int, name: str = "fine") -> Job:
    return Job(SPEC, replace(PLAN, predicted_us=float(number)), 0, (), ("cuda", name, 32))


def stand_in(job: Job) -> str:
    """Compiles nothing; what the arch says happens."""
    if job.gpu[1] == "dies":
        os._exit(1)
    return "" if job.gpu[1] == "fine" else "refused"


@pytest.mark.parametrize("culprit", [0, 4, 9])
def test_one_that_kills_its_process_fails_alone(monkeypatch: pytest.MonkeyPatch, culprit: int) -> None:
    monkeypatch.setattr(compiling, "_compile", stand_in)
    jobs = [job(i, "dies" if i == culprit else "refused" if i == 7 else "fine") for i in range(10)]
    heard: list[int] = []
    failed = compile_all(jobs, 2, heard.append)
    assert [bool(f) for f in failed] == [i in (culprit, 7) for i in range(10)]
    assert "process" in failed[culprit]
    assert heard[-1] == 10
