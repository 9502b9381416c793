"""What is chosen: it fits, it is stable, it follows the workload, and its absence is explained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.errors import PlanError
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.cover import ANCHORS, NEAR, SLACK_US, plan_for
from flashgen.plan.model.predict import plan_us
from flashgen.plan.plan import Plan
from flashgen.plan.search import choose
from flashgen.targets.target import load_target, target_names

from .programs import program

#: Bytes of the least tile: 16 rows of Q and 16 of K (the larger piece), by head dim.
SMALLEST = {16: 1024, 64: 4096, 96: 5120, 128: 8192, 256: 16384}
MASKS = (None, "causal", "causal & (k >= qpos - 1024)")


def line(plan: Plan) -> str:
    """A plan on one line, without times."""
    kernels = "; ".join(str(k) for k in plan.kernels)
    order = plan.kernels[0].order
    return f"{kernels}; {plan.smem_bytes} B; reverse {','.join(order.reverse) or '-'}, group {order.group}"


@pytest.mark.slow
def test_plans_of_head_dims(golden: Callable[..., None]) -> None:
    rows = [
        f"{target} {dtype} d{d} {mask or 'full'}: {line(choose(program(d, mask), target, dtype))}"
        for target, dtype in (("h100", "bf16"), ("h100", "fp32"), ("a100", "bf16"), ("rtx4090", "fp16"))
        for d in (32, 64, 96, 128, 192, 256)
        for mask in MASKS[:2]
    ]
    golden("\n".join(rows) + "\n")


@pytest.mark.parametrize("target", sorted(set(target_names()) - {"cpu"}))
@pytest.mark.parametrize("mask", MASKS)
def test_every_target_has_a_plan(target: str, mask: str | None) -> None:
    gpu = load_target(target)
    for dtype in ITEM_BYTES:
        if gpu.supports(dtype):
            plan = choose(program(64, mask), target, dtype)
            assert plan.smem_bytes <= gpu.smem_bytes
            assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.slow
@given(
    sram=st.integers(1, 400_000),
    d=st.sampled_from(sorted(SMALLEST)),
    mask=st.sampled_from(MASKS),
    target=st.sampled_from(["h100", "a100", "rtx4090"]),
)
@settings(max_examples=25)
def test_a_plan_fits_whatever_sram_is_stated(sram: int, d: int, mask: str | None, target: str) -> None:
    if sram < SMALLEST[d]:
        with pytest.raises(PlanError, match="the smallest that works needs"):
            choose(program(d, mask), target, "bf16", sram=sram)
    else:
        assert choose(program(d, mask), target, "bf16", sram=sram).smem_bytes <= sram


def test_sram_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(PlanError, match=r"no tile fits 2 KiB.*needs 4 KiB \(BLOCK_M 16 x BLOCK_N 16"):
        choose(program(64), "h100", sram=2048)
    assert choose(program(64), "h100", sram=4096).smem_bytes == 4096


@pytest.mark.parametrize("dtype, said", [("bf16", "t4 has no bf16"), ("fp8", "unknown dtype 'fp8'")])
def test_a_dtype_the_target_lacks_is_refused(dtype: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        choose(program(64), "t4", dtype)


def test_more_sram_is_never_slower() -> None:
    times = [
        choose(program(128, "causal"), "h100", sram=n << 10).predicted_us for n in (32, 64, 96, 160, 227)
    ]
    assert times == sorted(times, reverse=True)


def test_few_rows_have_a_small_tile() -> None:
    few = choose(program(128), "h100", "bf16", Workload(1, 8, 8, 16, 8192)).kernels[0]
    assert few.side("BLOCK_M") <= 64, "no more rows than one asynchronous dot has"


SHORT = Workload(1, 12, 12, 128, 128)


def test_a_short_call_spreads_over_the_gpu() -> None:
    long, short = (choose(program(64), "a100", "bf16", w).kernels[0] for w in (LONG, SHORT))
    assert short.side("BLOCK_M") <= long.side("BLOCK_M")
    assert short.side("BLOCK_N") == SHORT.Nk, "all keys in one pass"


def test_causal_rows_run_longest_first_with_heads_grouped() -> None:
    order = choose(program(128, "causal"), "h100").kernels[0].order
    assert order.reverse == ("q_tile",)
    assert order.group > 0
    assert choose(program(128), "h100").kernels[0].order.reverse == ()


@pytest.mark.slow
@given(st.integers(0, 4), st.sampled_from([1, 2, 4]), st.integers(1, 8), st.integers(0, 1 << 20))
def test_heads_are_grouped_evenly_with_those_that_share_k_and_v(
    b: int, hkv: int, share: int, nk: int
) -> None:
    w = Workload(b, hkv * share, hkv, nk, nk)
    group = choose(program(128, "causal"), "h100").group_for(0, w)
    assert group >= 1
    assert group % share == 0
    groups = -(-b * hkv * share // group)
    assert groups <= 1 or groups * group - b * hkv * share < groups * share, "the last group is as large"


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["", "causal"])
def test_plans_are_few_and_serve_every_workload(mask: str) -> None:
    p, h100 = program(64, mask) if mask else program(64), load_target("h100")
    lengths = (60, 128, 300, 1024, 3000, 8192, 40_000)
    works = [Workload(b, 16, 4, n, n) for b in (1, 8) for n in lengths]
    found = {w: plan_for(p, h100, "bf16", w) for w in works}
    assert len({x.kernels for x in found.values()}) <= 5
    for w, plan in found.items():
        own = choose(p, "h100", "bf16", w.rounded())
        us = plan_us(p, h100, own, w.rounded())
        assert plan_us(p, h100, plan, w.rounded()) <= max(NEAR * us, us + SLACK_US)


def test_the_plan_of_a_workload_says_what_it_was_chosen_for() -> None:
    p, h100 = program(64, "causal"), load_target("h100")
    anchors = {w.Nq for w, _ in ANCHORS}
    for w in (LONG, Workload(2, 16, 16, 1000, 1000), Workload(1, 8, 8, 16, 100_000)):
        plan = plan_for(p, h100, "bf16", w)
        assert plan.workload is not None
        assert plan.workload == w.rounded() or plan.workload.Nq in anchors


def test_a_call_that_waits_for_the_host_makes_no_descriptors() -> None:
    plan = plan_for(program(64, "causal"), load_target("h100"), "bf16", SHORT)
    assert {k.loads for k in plan.kernels} == {"pointer"}


def test_a_gpu_of_ones_own_is_planned_for_at_all_sizes() -> None:
    mine = load_target("h100").model_copy(update={"name": "mine"})
    for w in (LONG, SHORT, Workload(1, 8, 8, 1000, 1000)):
        assert plan_for(program(64), mine, "bf16", w).target == "mine"
