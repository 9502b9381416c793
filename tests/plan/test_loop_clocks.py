"""Compiled kernels of the gallery: their loops are found in their code, and take sensible clocks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest

from flashgen.driver import emit_source, lower_spec, plan_for
from flashgen.plan.cost import kernel_cost
from flashgen.plan.facts import facts
from flashgen.plan.loop_clocks import simulated
from flashgen.plan.plan import Measured, Plan, Workload
from flashgen.plan.resources import Tiling, blocks_per_sm, tiling
from flashgen.plan.target import load_target
from flashgen.plan.verdict import Verdict, job
from flashgen.plan.verdict import compiled as ask
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec

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
    for body, clocks in zip(t.facts.loops, m.loops, strict=True):
        if not body.dots or body.loops:
            assert clocks == ()
            continue
        assert len(clocks) == per_sm
        flops = sum(t.flops(d) for d in body.dots)
        least = flops / t.target.flops_per_clock("bf16") * t.target.number("clock") / t.target.boost
        for blocks, took in enumerate(clocks, 1):
            assert took >= 0.95 * blocks * least, "no faster than the matrix units"
            assert took <= 1.2 * blocks * clocks[0], "sharing an SM costs no more than taking turns"


def test_the_time_follows_the_code() -> None:
    t, verdict = compiled("causal", "flash2", 0)
    m = timed(t, verdict)
    slower = replace(m, loops=tuple(tuple(2 * c for c in clocks) for clocks in m.loops))
    closed = replace(m, loops=())
    us = kernel_cost(t, WORK, m).us
    assert 1.3 * us < kernel_cost(t, WORK, slower).us < 2.1 * us
    assert 0.7 * us < kernel_cost(t, WORK, closed).us < 1.4 * us, "two models of one kernel"


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
    kept = replace(plan, compiled=(Measured(1, 2, 3, ((1.5, 2.0), ())),))
    assert Plan.from_json(kept.to_json()) == kept
