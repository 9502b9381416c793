"""The suite ``counters``: bytes that the planner counts beside those that the GPU's counters see.

Requested bytes (``plan.count``: every element that a guard lets through, exactly) stand beside what SMs read
from L2 and write to it; the time model's DRAM bytes beside those of DRAM. ``counted`` launches the kernels.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from flashgen.count.counts import counts
from flashgen.driver import lower_spec
from flashgen.errors import FlashgenError
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.plan import Plan
from flashgen.plan.resources import tiling
from flashgen.runtime.source import best_plan
from flashgen.targets.target import load_target

from .counted import Counted, counted
from .ncu import profile
from .report import CounterRow, Figure
from .suites import Session

SUITE = "counters"
#: Bytes of a sector, in which L2 counts.
SECTOR = 32
#: Least seconds that ncu is given: it starts Python, compiles what is not in the cache, and replays.
LEAST_S = 60.0
#: The target of a dry run.
DRY_TARGET = "h100"


@dataclass(frozen=True)
class Predicted:
    """Bytes that one kernel is predicted to move: ``read`` and ``written`` are requested, exactly; ``l2``
    and ``dram`` are the time model's."""

    read: int
    written: int
    l2: int
    dram: int


def predicted(c: Counted, plan: Plan) -> Predicted:
    """What the planner says of ``c`` run by ``plan``."""
    program = lower_spec(c.spec, c.schedule).program
    k = plan.kernels[c.kernel]
    found = counts(program).of_kernel(c.kernel).at(c.work, dict(k.sides), plan.dtype)
    t = tiling(facts(program)[c.kernel], k, plan.dtype, load_target(plan.target))
    cost = kernel_cost(t, c.work)
    return Predicted(sum(found.read.values()), sum(found.written.values()), cost.l2_bytes, cost.hbm_bytes)


def run(session: Session) -> None:
    """Count, and put a row for each kernel into the report; without counters, one remark."""
    cases = list(counted())
    if session.device == "cpu":
        plans = [best_plan(c.spec.canonical_json(), DRY_TARGET, "bf16", c.work, c.schedule) for c in cases]
        _report(session, cases, plans, [{} for _ in cases])
        return
    session.say(f"counting {len(cases)} kernels under Nsight Compute")
    left = max(session.deadline - time.monotonic(), LEAST_S)
    try:
        printed, counters = profile([sys.executable, "-m", "flashgen.bench.counted"], left)
        ran = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        if len(ran) != len(cases) or len(counters) != len(cases):
            raise FlashgenError(
                f"{len(cases)} kernels were to be launched, {len(ran)} were, {len(counters)} counted"
            )
    except FlashgenError as e:
        session.report.problems.append(f"{SUITE}: {e}")
        return
    _report(session, cases, [Plan.from_json(r["plan"]) for r in ran], counters)


def _report(
    session: Session, cases: list[Counted], plans: list[Plan], counters: list[dict[str, float]]
) -> None:
    for c, plan, seen in zip(cases, plans, counters, strict=True):
        row = compare(c, plan, seen)
        session.report.counters.append(row)
        session.report.figures.extend(figures(row))
    session.save()


def compare(c: Counted, plan: Plan, seen: Mapping[str, float]) -> CounterRow:
    """One row: predictions beside counters (``ncu.METRICS``), those that are missing left out."""
    p = predicted(c, plan)
    whole = {name: round(n) for name, n in seen.items()}
    read, written = whole.get("l2_read_sectors"), whole.get("l2_write_sectors")
    return CounterRow(
        case=c.label,
        plan=str(plan.kernels[c.kernel]),
        read_requested=p.read,
        write_requested=p.written,
        model_l2_bytes=p.l2,
        model_dram_bytes=p.dram,
        l2_read_bytes=None if read is None else read * SECTOR,
        l2_write_bytes=None if written is None else written * SECTOR,
        l2_all_read_bytes=whole["l2_all_read_sectors"] * SECTOR if "l2_all_read_sectors" in whole else None,
        l1_read_bytes=whole.get("l1_read_bytes"),
        l1_write_bytes=whole.get("l1_write_bytes"),
        tma_read_bytes=whole.get("tma_read_bytes"),
        dram_read_bytes=whole.get("dram_read_bytes"),
        dram_write_bytes=whole.get("dram_write_bytes"),
        ns=whole.get("ns"),
    )


def figures(r: CounterRow) -> list[Figure]:
    """The columns of the table, gigabytes and ratios."""

    def gb(what: str, n: int | None) -> list[Figure]:
        return [] if n is None else [Figure(SUITE, r.case, what, n / 1e9, "GB")]

    def ratio(what: str, counter: int | None, said: int) -> list[Figure]:
        return [] if counter is None or not said else [Figure(SUITE, r.case, what, counter / said, "x")]

    dram = None
    if r.dram_read_bytes is not None and r.dram_write_bytes is not None:
        dram = r.dram_read_bytes + r.dram_write_bytes
    return [
        *gb("reads requested", r.read_requested),
        *gb("read from L2", r.l2_read_bytes),
        *ratio("read from L2 / requested", r.l2_read_bytes, r.read_requested),
        *ratio("read from L2 / model's l2_bytes", r.l2_read_bytes, r.model_l2_bytes),
        *gb("writes requested", r.write_requested),
        *ratio("written to L2 / requested", r.l2_write_bytes, r.write_requested),
        *gb("DRAM, model", r.model_dram_bytes),
        *gb("DRAM read", r.dram_read_bytes),
        *gb("DRAM written", r.dram_write_bytes),
        *ratio("DRAM / model", dram, r.model_dram_bytes),
    ]
