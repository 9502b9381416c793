"""Shared memory of whole kernels, forward and backward, beside what Triton 3.6 took of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from flashgen.backends.triton.smem import smem_bytes
from flashgen.backends.triton.verdict import job
from flashgen.driver import lower_spec
from flashgen.errors import PlanError
from flashgen.ir.program import Program
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import tiling
from flashgen.plan.order import order_of
from flashgen.plan.plan import KernelPlan
from flashgen.plan.search import candidates, choose
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.targets.target import load_target

from .programs import lowered, module


@lru_cache(maxsize=16)
def gallery_program(name: str, schedule: str) -> Program:
    return lower_spec(load_spec(find(name)), schedule).program


#: Gallery, schedule, kernel, target, sides, warps, stages, loads: bytes that the compiler took (fp16).
TAKEN: list[tuple[Any, ...]] = [
    # A row's buffers and barriers lie between aligned tiles: as much again up to the next 1,024.
    ("full", "backward", 1, "h100", (64, 32), 4, 3, "pointer", 82_944),
    ("padded", "backward", 0, "h100", (64, 64), 4, 2, "descriptor", 50_192),
    # Without pipelining every operand is there from its load to its last dot ...
    ("full", "backward", 0, "h100", (128, 128), 8, 1, "pointer", 131_072),
    ("mla_prefill", "backward", 1, "h100", (64, 64), 4, 1, "pointer", 81_920),
    # ... and the older units take a transposed one through scratch, a part at a time.
    ("full", "backward", 1, "a100", (128, 128), 8, 1, "pointer", 135_168),
    ("full", "backward", 1, "a100", (32, 16), 2, 1, "pointer", 28_672),
    ("full", "backward", 0, "a100", (16, 64), 1, 1, "pointer", 26_624),
    # What no asynchronous dot reads has a buffer less than there are stages.
    ("t5_bias", "flash2", 0, "h100", (128, 16), 8, 3, "pointer", 45_056),
    ("swin_v2", "backward", 1, "h100", (128, 64), 4, 3, "pointer", 107_520),
    # A loop around a loop is not pipelined.
    ("t5_bias", "backward", 2, "a100", (64, 128), 4, 3, "pointer", 24_576),
    # A bias that changes its layout goes through scratch: by shuffles (nothing), a part at a time, or whole.
    ("evoformer", "flash2", 0, "h100", (128, 16), 1, 1, "pointer", 9_216),
    ("evoformer", "backward", 0, "h100", (256, 32), 8, 1, "pointer", 43_008),
    ("evoformer", "backward", 1, "a100", (32, 128), 2, 1, "pointer", 21_504),
    ("evoformer", "backward", 1, "h100", (64, 128), 4, 1, "pointer", 25_088),
    ("swin_v2", "flash2", 0, "a100", (256, 16), 2, 1, "pointer", 20_480),
    ("swin_v2", "backward", 0, "h100", (256, 32), 4, 1, "pointer", 38_912),
    ("swin_v2", "backward", 1, "a100", (256, 32), 4, 1, "pointer", 43_008),
    ("swin_v2", "backward", 2, "h100", (32, 32), 1, 1, "pointer", 4_608),
    ("t5_bias", "flash2", 0, "h100", (64, 64), 4, 1, "pointer", 24_576),
    ("t5_bias", "backward", 1, "a100", (128, 32), 8, 1, "pointer", 45_056),
    ("t5_bias", "backward", 1, "h100", (32, 32), 1, 1, "pointer", 17_408),
    ("t5_bias", "backward", 2, "a100", (128, 32), 4, 1, "pointer", 34_816),
    ("t5_bias", "backward", 2, "h100", (32, 64), 1, 1, "pointer", 9_216),
    ("evoformer", "backward", 0, "a100", (128, 16), 8, 1, "pointer", 25_600),
    # The matrix units of sm_100 run on while the next pass starts: an operand that two dots read, the later
    # one with a computed operand, has a buffer more; of a head dim in pieces each further one has another.
    ("alibi", "backward", 0, "b200", (128, 64), 8, 3, "pointer", 91_184),
    ("alibi", "backward", 1, "b200", (64, 16), 4, 4, "pointer", 37_888),
    ("alibi", "backward", 1, "b200", (64, 32), 4, 4, "descriptor", 58_368),
    ("causal", "backward", 0, "b200", (128, 64), 8, 4, "descriptor", 214_016),
    ("causal", "backward", 1, "b200", (128, 16), 8, 4, "descriptor", 107_040),
    ("mla_prefill", "backward", 0, "b200", (128, 16), 4, 4, "pointer", 132_096),
    ("mla_prefill", "backward", 0, "b200", (64, 16), 4, 2, "descriptor", 70_656),
    ("mla_prefill", "backward", 1, "b200", (64, 32), 4, 3, "pointer", 128_000),
    ("t5_bias", "backward", 0, "b200", (256, 16), 4, 3, "pointer", 112_688),
    # Without pipelining there is a barrier.
    ("causal", "backward", 0, "b200", (256, 16), 8, 1, "pointer", 139_272),
]


@pytest.mark.parametrize("name, schedule, kernel, target, sides, warps, stages, loads, taken", TAKEN)
def test_no_candidate_takes_more_than_predicted(
    name: str, schedule: str, kernel: int, target: str, sides: tuple[int, ...], warps: int, stages: int,
    loads: Any, taken: int,
) -> None:  # fmt: skip
    f = facts(gallery_program(name, schedule))[kernel]
    plan = KernelPlan(tuple(zip(f.sides, sides, strict=True)), warps, stages, order_of(f), loads)
    predicted = smem_bytes(tiling(f, plan, "fp16", load_target(target)))
    assert taken <= predicted <= 1.1 * taken


def test_fp32_lanes_hold_both_computed_operands() -> None:
    f = facts(gallery_program("full", "backward"))[1]
    plan = KernelPlan((("BLOCK_N", 64), ("BLOCK_M", 16)), 8, 3, order_of(f))
    assert smem_bytes(tiling(f, plan, "fp32", load_target("h100"))) == 106_752  # as Triton 3.6 takes it


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["flash2", "backward"])
@pytest.mark.parametrize("target", ["h100", "a100", "rtx3090", "t4"])
def test_the_smallest_shared_memory_named_works(schedule: str, target: str) -> None:
    program = gallery_program("gemma2_local", schedule)
    with pytest.raises(PlanError, match="the smallest that works needs") as refused:
        choose(program, load_target(target, 2048), "fp16")
    words = str(refused.value).split("the smallest that works needs ")[1].split(" (")[0]
    from flashgen.size import parse_size

    enough = parse_size(words.replace(",", ""))
    assert choose(program, load_target(target, enough), "fp16").smem_bytes <= enough
    with pytest.raises(PlanError, match="the smallest that works needs"):
        choose(program, load_target(target, enough - 1), "fp16")


def test_a_tile_that_would_spill_is_not_named_as_the_smallest() -> None:
    found = candidates(gallery_program("gemma2_local", "backward"), 0, load_target("t4", 2048), "fp16")
    assert all("shared memory" in c.rejected for c in found if c.too_big)
    assert any("spill" in c.rejected and c.smem_bytes > 2048 for c in found)


def test_a_kernel_that_draws_has_a_job() -> None:
    of = lower_spec(load_spec(find("gpt2")), "flash2")
    gpu = load_target("h100")
    plan = choose(of.program, gpu, "fp16")
    types = dict(job(of.program, module(of, plan), 0, plan, gpu)["signature"])
    assert "*i64" in types.values(), "the seed of dropout"


def test_operands_of_a_program_without_loops_are_counted() -> None:
    program = lowered(64, schedule="standard").program
    f = facts(program)[0]
    plan = KernelPlan((("BLOCK_M", 64), ("BLOCK_N", 64)), 4, 1, order_of(f))
    assert smem_bytes(tiling(f, plan, "fp16", load_target("h100"))) >= 2 * 64 * 64 * 2
