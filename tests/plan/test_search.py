"""What is chosen: it fits, it is stable, it follows the workload, and its absence is explained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.driver import lower_spec
from flashgen.errors import PlanError
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.workload import Workload
from flashgen.plan.cover import NEAR, SHORT, WORKLOADS, variants
from flashgen.plan.model.predict import best, plan_us
from flashgen.plan.plan import MAX_SPILL_BYTES, Measured, Plan
from flashgen.plan.search import LONG, candidates, choose
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target, target_names

from ..work import calls_of
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
def test_variants_are_few_and_serve_every_workload(mask: str) -> None:
    p = program(64, mask) if mask else program(64)
    plans = variants(p, "h100")
    assert 1 <= len(plans) <= 5
    for w in (*WORKLOADS, SHORT, Workload(1, 8, 8, 3000, 3000)):
        times = [plan_us(p, x, w) for x in plans]
        assert best(p, plans, w) == times.index(min(times))
        if w in WORKLOADS:
            assert min(times) <= NEAR * plan_us(p, choose(p, "h100", "bf16", w), w)
    assert plans[best(p, plans, SHORT)].kernels[0].side("BLOCK_M") <= plans[0].kernels[0].side("BLOCK_M")


def test_what_the_compiler_says_decides() -> None:
    p = program(64, "causal")
    plans = variants(p, "h100")
    first = best(p, plans, LONG)
    spilling = [[Measured(64 << 10, 255, 4000 if i == first else 0)] for i in range(len(plans))]
    assert best(p, plans, LONG, spilling) != first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head_dim", "dropout", "w"), [(128, 0.0, LONG), (64, 0.1, Workload(4, 32, 32, 4096, 4096))]
)
def test_more_shared_memory_is_never_slower(head_dim: int, dropout: float, w: Workload) -> None:
    spec = AttentionSpec(name="variant", head_dim=head_dim, mask="causal", dropout=dropout)
    p = lower_spec(spec).program
    targets = [load_target("h100", kib << 10) for kib in (48, 64, 68, 72, 96, 128, 192, 194, 227)]
    first = [candidates(p, 0, g, "bf16", w)[0].cost for g in targets]
    times = [cost.us for cost in first if cost]
    assert len(times) == len(targets)
    assert times == sorted(times, reverse=True)


def test_choosing_is_quick() -> None:
    p = program(128, "causal")
    choose(p, "h100")
    assert calls_of(lambda: choose(p, "h100")) < 1_500_000  # 600,000: a quarter of a second


def test_no_work_has_a_plan_too() -> None:
    for w in (Workload(0, 8, 8, 128, 128), Workload(1, 8, 8, 0, 128), Workload(1, 8, 8, 128, 0)):
        choose(program(64, "causal"), "h100", "bf16", w)


def test_several_kernels_have_a_plan_each() -> None:
    p = program(64, "causal", schedule="standard")
    plan = choose(p, "h100")
    assert len(plan.kernels) == len(p.kernels)


def test_candidates_are_ranked_and_the_rejected_say_why() -> None:
    found = candidates(program(128, "causal"), 0, load_target("h100"), "bf16")
    good = [c for c in found if not c.rejected]
    sure = [c.cost.us for c in good if c.cost and c.spill_bytes <= MAX_SPILL_BYTES]
    assert sure == sorted(sure)
    assert good[: len(sure)] == [c for c in good if c.spill_bytes <= MAX_SPILL_BYTES], (
        "doubtful ones come last"
    )
    assert all(c.rejected for c in found[len(good) :])


def test_the_cpu_has_large_tiles() -> None:
    for dtype in ITEM_BYTES:
        sides = dict(choose(program(64), "cpu", dtype).kernels[0].sides)
        assert min(sides.values()) >= 128


def test_a_plan_is_data() -> None:
    plan = choose(program(96, "causal"), "h100", "fp16", Workload(1, 8, 2, 100, 300))
    assert Plan.from_json(plan.to_json()) == plan
    import dataclasses

    proven = dataclasses.replace(plan, compiled=(Measured(1, 2, 3),))
    assert Plan.from_json(proven.to_json()) == proven
    assert proven.spill_bytes == 3
    for broken in ("", "{}", "[]", plan.to_json().replace("kernels", "colonels")):
        with pytest.raises(PlanError, match="not a plan"):
            Plan.from_json(broken)
