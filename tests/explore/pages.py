"""Questions and pages that the explorer's tests share; each is made once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from flashgen.count.counts import counts
from flashgen.driver import emit_source
from flashgen.explore.data import Question, page_data
from flashgen.explore.page import page
from flashgen.ir.workload import Workload
from flashgen.plan.plan import KernelPlan
from flashgen.plan.search import Candidate, candidates, choose
from flashgen.targets.target import load_target
from tests.plan.programs import lowered

KIB = 1024
WORK = Workload(2, 16, 16, 2048, 2048)


@lru_cache(maxsize=8)
def question(schedule: str = "flash2", target: str = "h100") -> Question:
    """An attention on a GPU: a causal forward, a backward that sees every key."""
    mask = "causal" if schedule == "flash2" else None
    return Question(lowered(64, mask, schedule=schedule), load_target(target), "bf16", WORK)


@lru_cache(maxsize=64)
def planned(schedule: str, kernel: int, sram: int, target: str = "h100") -> list[Candidate]:
    """What the planner itself says of ``sram`` bytes."""
    asked = question(schedule, target)
    return candidates(
        asked.lowered.program, kernel, asked.target.with_sram(sram), asked.dtype, asked.workload
    )


@lru_cache(maxsize=8)
def data(schedule: str) -> dict[str, Any]:
    """The page's data; the forward is tuned."""
    return page_data(question(schedule), measured=measured() if schedule == "flash2" else None)


def measured() -> dict[str, dict[str, float]]:
    """Times of every fourth candidate of the forward, the reverse of what is predicted."""
    good = planned("flash2", 0, question().target.smem_bytes)
    return {"variant_fwd": {str(c.plan): 1e6 / c.cost.us for c in good[::4] if c.cost}}


def written(path: Path, held: dict[str, Any]) -> str:
    """The address of the page as a file."""
    path.write_text(page(held), encoding="utf-8")
    return path.as_uri()


def requests(plan: KernelPlan) -> int:
    """The bytes that the forward requests under ``plan``, counted."""
    return counts(question().lowered.program).at(WORK, dict(plan.sides), "bf16").requested


def source(schedule: str, i: int, plan: KernelPlan) -> str:
    """The source of the chosen plan with ``plan`` for kernel number ``i``."""
    asked = question(schedule)
    chosen = choose(asked.lowered.program, asked.target, asked.dtype, asked.workload)
    kernels = (*chosen.kernels[:i], plan, *chosen.kernels[i + 1 :])
    return emit_source(asked.lowered, replace(chosen, kernels=kernels)).text
