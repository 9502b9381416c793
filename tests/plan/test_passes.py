"""The clocks of one pass: what it waits for, and what it stores."""

from __future__ import annotations

import pytest

from flashgen.driver import lower_spec
from flashgen.plan.model.facts import facts
from flashgen.plan.model.passes import STORED_PER_CLOCK, Pass, pass_cost
from flashgen.plan.order import order_of
from flashgen.plan.plan import KernelPlan
from flashgen.plan.resources import Tiling, tiling
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.targets.target import load_target

from .programs import program

H100 = load_target("h100")
LATENCY = H100.number("latency") * 1e3 * H100.number("clock")


def inner(schedule: str, stages: int) -> tuple[Tiling, list[Pass]]:
    """The passes of the loops that hold dots, with tiles of 64."""
    f = facts(program(64, schedule=schedule))[0]
    t = tiling(f, KernelPlan((("BLOCK_M", 64), ("BLOCK_N", 64)), 4, stages, order_of(f)), "fp16", H100)
    return t, [pass_cost(t, loop, 0) for loop in f.loops if loop.dots]


@pytest.mark.parametrize("stages", [2, 3])
def test_a_load_that_no_dot_needs_is_waited_for_in_every_pass(stages: int) -> None:
    """Triton pipelines only what leads to a dot; in the kernel of a bias's gradient ``delta`` does not."""
    f = facts(lower_spec(load_spec(find("evoformer")), "backward").program)[2]
    assert any(not x.leads_to_dot and x.axes for loop in f.loops for x in loop.loads)
    plan = KernelPlan((("BLOCK_M", 64), ("BLOCK_N", 64)), 4, stages, order_of(f))
    t = tiling(f, plan, "fp16", H100)
    assert all(p.waits - p.first > 2 * LATENCY for p in (pass_cost(t, loop, 0) for loop in f.loops))
    _, passes = inner("flash2", stages)
    assert all(p.waits - p.first < 2 * LATENCY for p in passes)


def test_stores_inside_a_loop_take_their_time() -> None:
    t, passes = inner("flash1", 3)
    stored = [t.stored_bytes(loop) / STORED_PER_CLOCK for loop in t.facts.loops if loop.dots]
    assert all(s > 1000 for s in stored), "O in fp32"
    assert all(p.fetch > s for p, s in zip(passes, stored, strict=True))
