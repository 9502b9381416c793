"""Compiled kernels of the gallery: their loops are found in their code, and take sensible clocks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from flashgen.backends.triton.verdict import compiled as ask
from flashgen.backends.triton.verdict import job
from flashgen.driver import emit_source, lower_spec, plan_for
from flashgen.explain.words import explain
from flashgen.ir.workload import Workload
from flashgen.plan import loop_clocks
from flashgen.plan.backend import Verdict
from flashgen.plan.confirm import judged
from flashgen.plan.loop_clocks import simulated
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import Tiling, blocks_per_sm, tiling
from flashgen.plan.plan import KernelPlan, LoopClocks, Measured, Plan
from flashgen.plan.search import candidates
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.targets.target import load_target

WORK = Workload(2, 16, 16, 4096, 4096)


@lru_cache(maxsize=64)
def compiled(name: str, schedule: str, kernel: int, target: str = "h100") -> tuple[Tiling, Verdict]:
    low = lower_spec(load_spec(gallery()[name]), schedule)
    g = load_target(target)
    plan = plan_for(low, g, "bf16", WORK)
    t = tiling(facts(low.program)[kernel], plan.kernels[kernel], "bf16", g)
    source = emit_source(low, plan)
    return t, ask(job(low.program, source, kernel, plan, g))


def timed(t: Tiling, verdict: Verdict) -> Measured:
    assert verdict.measured is not None, verdict.error
    return simulated(t, verdict.measured, verdict.loops)


@pytest.mark.parametrize(
    ("name", "schedule", "kernel"),
    [("full", "flash2", 0), ("causal", "flash2", 0), ("softcap", "flash2", 0), ("evoformer", "flash2", 0)],
)  # fmt: skip
def test_loops_are_found_and_take_more_clocks_for_more_blocks(name: str, schedule: str, kernel: int) -> None:
    t, verdict = compiled(name, schedule, kernel)
    m = timed(t, verdict)
    per_sm, _ = blocks_per_sm(t, m.smem_bytes, m.registers)
    assert len(m.loops) == len(t.facts.loops)
    for body, found in zip(t.facts.loops, m.loops, strict=True):
        if not body.dots or body.loops:
            assert found is None
            continue
        assert found is not None
        clocks = found.passes
        assert len(clocks) == per_sm
        flops = sum(t.flops(d) for d in body.dots)
        least = flops / t.target.flops_per_clock("bf16") * t.target.number("clock") / t.target.boost
        for blocks, took in enumerate(clocks, 1):
            assert took >= 0.95 * blocks * least, "no faster than the matrix units"
            assert took <= 1.3 * blocks * clocks[0], "sharing an SM costs hardly more than taking turns"


def test_the_time_follows_the_code() -> None:
    t, verdict = compiled("causal", "flash2", 0)
    m = timed(t, verdict)
    slower = replace(m, loops=tuple(c and LoopClocks(tuple(2 * x for x in c.passes)) for c in m.loops))
    closed = replace(m, loops=())
    us = kernel_cost(t, WORK, m).us
    assert 1.3 * us < kernel_cost(t, WORK, slower).us < 2.1 * us
    assert 0.7 * us < kernel_cost(t, WORK, closed).us < 1.4 * us, "two models of one kernel"


def test_what_confirmed_times_are_made_of_is_told() -> None:
    t, verdict = compiled("causal", "flash2", 0)
    low, g = lower_spec(load_spec(gallery()["causal"])), t.target
    first, *rest = candidates(low.program, 0, g, "bf16", WORK)
    proved = judged(first, verdict, low.program, 0, g, "bf16", WORK)
    assert proved.measured is not None
    per_sm, _ = blocks_per_sm(t, proved.smem_bytes, proved.registers)
    shares = [loop.passes[per_sm - 1] / per_sm for loop in proved.measured.loops if loop]
    assert len(shares) == 2
    told = f"together: full tiles {shares[0]:,.0f}, partial tiles {shares[1]:,.0f}"
    assert told in words(explain(low.program, g, "bf16", WORK, [[proved, *rest]]))
    assert "by the compiled code" not in words(explain(low.program, g, "bf16", WORK))


def words(shown: RenderableType) -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(shown)
    return " ".join(console.export_text().split())


def test_copies_fill_a_pipeline_before_its_first_pass() -> None:
    one = filling(2, "pointer")
    assert one > 0
    assert filling(3, "pointer") == pytest.approx(2 * one, rel=0.1), "a tile ahead, two tiles ahead"
    assert filling(3, "descriptor") == 0, "one thread asks for them"
    t, verdict = compiled("causal", "flash2", 0)
    m = timed(t, verdict)
    longer = replace(m, loops=tuple(c and replace(c, filling=c.filling + 500.0) for c in m.loops))
    assert kernel_cost(t, WORK, m).us < kernel_cost(t, WORK, longer).us


def filling(stages: int, loads: str) -> float:
    low, g = lower_spec(load_spec(gallery()["causal"])), load_target("h100")
    plan = plan_for(low, g, "bf16", WORK)
    k = KernelPlan((("BLOCK_M", 64), ("BLOCK_N", 64)), 4, stages, plan.kernels[0].order, loads)  # type: ignore[arg-type]
    plan = replace(plan, kernels=(k,))
    verdict = ask(job(low.program, emit_source(low, plan), 0, plan, g))
    found = timed(tiling(facts(low.program)[0], k, "bf16", g), verdict).loops[0]
    assert found is not None
    return found.filling


def test_descriptors_bring_rows_and_no_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    low, g = lower_spec(load_spec(gallery()["evoformer"])), load_target("h100")
    plan = plan_for(low, g, "bf16", WORK)
    k = KernelPlan((("BLOCK_M", 128), ("BLOCK_N", 64)), 4, 2, plan.kernels[0].order, "descriptor")
    plan = replace(plan, kernels=(k,))
    brought: list[float] = []

    def noted(steps: object, blocks: int, warps: int, fetched: float, *rest: object) -> float:
        brought.append(fetched)
        return 1000.0

    monkeypatch.setattr(loop_clocks, "pass_clocks", noted)
    verdict = ask(job(low.program, emit_source(low, plan), 0, plan, g))
    timed(tiling(facts(low.program)[0], k, "bf16", g), verdict)
    assert set(brought) == {2 * 64 * 32 * 2}, "K and V in bf16; the bias comes by its addresses"


def test_code_that_is_not_the_programs_keeps_the_estimate() -> None:
    t, verdict = compiled("causal", "flash2", 0)
    assert verdict.measured is not None
    unrolled = tuple((*loop, *loop) for loop in verdict.loops)
    for loops in ((), verdict.loops[:1], (*verdict.loops, verdict.loops[0]), unrolled):
        assert simulated(t, verdict.measured, loops).loops == ()


def test_loops_of_more_products_keep_the_estimate() -> None:
    t, verdict = compiled("causal", "backward", 1)
    assert len(verdict.loops) == 2
    assert timed(t, verdict).loops == ()


def test_elsewhere_nothing_is_simulated() -> None:
    t, verdict = compiled("causal", "flash2", 0, "a100")
    assert verdict.loops, "its code is read all the same"
    assert timed(t, verdict).loops == ()


def test_a_plan_keeps_its_clocks() -> None:
    low = lower_spec(load_spec(gallery()["full"]))
    plan = plan_for(low, load_target("h100"), "bf16", WORK)
    kept = replace(plan, compiled=(Measured(1, 2, 3, (LoopClocks((1.5, 2.0), 0.5), None)),))
    assert Plan.from_json(kept.to_json()) == kept
