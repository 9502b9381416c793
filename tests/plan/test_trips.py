"""How often loops run, by a sample of the tiles around them."""

from __future__ import annotations

import pytest

from flashgen.driver import lower_spec
from flashgen.ir.program import Loop
from flashgen.plan.facts import facts
from flashgen.plan.plan import Workload
from flashgen.plan.trips import trips
from flashgen.spec.model import AttentionSpec


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
