"""How often loops run, by a sample of the tiles around them."""

from __future__ import annotations

import pytest

from flashgen.driver import lower_spec
from flashgen.ir.program import Loop
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import facts
from flashgen.plan.model.trips import trips
from flashgen.plan.search import candidates
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target


def test_a_loop_in_a_loop_runs_as_often_as_its_bounds_say() -> None:
    """Under a causal mask tile j of 64 tiles of keys is seen by 64 - j tiles of queries."""
    program = lower_spec(AttentionSpec(name="c", head_dim=64, mask="causal"), "flash1").program
    f = facts(program)[0]
    (counts,) = trips(f, Workload(1, 1, 1, 4096, 4096), (("BLOCK_M", 64), ("BLOCK_N", 64)))
    top = [s for s in f.kernel.body if isinstance(s, Loop)]
    assert len(counts) == len(f.loops) == len(top) + 2
    start, keys, full, partial, results = counts
    assert (start, keys, results) == (64, 64, 64)
    assert full + partial == pytest.approx(64 * 65 / 2, rel=0.01)
    assert 64 <= partial <= 2 * 64


def test_work_outside_of_loops_and_stores_inside_of_them_count() -> None:
    """Standard attention: a dot for each pair of tiles, then S read twice and P written, row by row."""
    program = lower_spec(AttentionSpec(name="c", head_dim=64), "standard").program
    target, w = load_target("h100"), Workload(1, 8, 8, 4096, 4096)
    scores, softmax = (candidates(program, i, target, "bf16", w)[0].cost for i in (0, 1))
    assert scores is not None
    assert softmax is not None
    pairs = 8 * 4096**2
    assert scores.flops == 2 * pairs * 64
    assert softmax.hbm_bytes >= pairs * (4 + 4 + 2)


def test_programs_without_a_loop_take_as_long_as_l2_does() -> None:
    """The scores of small tiles ask for so much that DRAM is not what limits them."""
    program = lower_spec(AttentionSpec(name="c", head_dim=64), "standard").program
    target = load_target("h100")
    found = candidates(program, 0, target, "bf16", Workload(4, 32, 32, 4096, 4096))
    costs = [c.cost for c in found if c.cost is not None]
    assert len(costs) > 5
    assert all(c.compute_us >= 0.999 * c.l2_bytes / target.number("l2_rate") / 1e3 for c in costs)
    assert costs[0].l2_bytes < 2 * min(c.l2_bytes for c in costs[:6])
