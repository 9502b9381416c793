"""The trade of one or two kernels in the backward, counted."""

from __future__ import annotations

import pytest

from flashgen.driver import lower_spec
from flashgen.explain.onekernel import one_kernel_text
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.resources import tiling
from flashgen.plan.search import choose
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

H100 = load_target("h100")


def text(schedule: str, w: Workload, **fields: object) -> str:
    program = lower_spec(AttentionSpec(name="x", **{"head_dim": 64, **fields}), schedule).program
    plan = choose(program, H100, "bf16", w)
    tiled = [tiling(f, k, "bf16", H100) for f, k in zip(facts(program), plan.kernels, strict=True)]
    return one_kernel_text([(f, t, kernel_cost(t, w)) for f, t in zip(facts(program), tiled, strict=True)])


@pytest.mark.parametrize("heads", [(4, 4), (4, 1)])
def test_two_of_seven_products_and_a_share_for_each_tile_of_keys(heads: tuple[int, int]) -> None:
    w = Workload(2, *heads, 2048, 2048)
    product = 2 * 2 * 4 * 2048**2 * 64
    said = text("backward", w)
    assert f"{2 * product / 1e12:,.2f} of {7 * product / 1e12:,.2f} TFLOP" in said
    program = lower_spec(AttentionSpec(name="x", head_dim=64), "backward").program
    side = choose(program, H100, "bf16", w).kernels[1].side("BLOCK_N")
    shares = 2 * 4 * 2048 * (2048 // side) * 64 * 4
    assert f"add {shares / 1e9:,.2f} GB" in said


def test_shares_are_only_added_where_tiles_are_seen() -> None:
    w = Workload(2, 4, 4, 4096, 4096)
    full, causal = text("backward", w), text("backward", w, mask="causal")
    first, second = (float(s.split("add ")[1].split(" GB")[0]) for s in (full, causal))
    assert 0.45 * first < second < 0.6 * first


def test_a_forward_has_no_such_trade() -> None:
    assert text("flash2", Workload(2, 4, 4, 2048, 2048)) == ""
