"""Shared memory and registers: read off the program, monotone, and what the compiler takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.explain.formulas import smem_formula
from flashgen.plan.model.facts import facts
from flashgen.plan.order import order_of
from flashgen.plan.plan import KernelPlan
from flashgen.plan.resources import (
    Tiling,
    blocks_per_sm,
    on_chip_bytes,
    registers,
    spilled,
    tiling,
)
from flashgen.plan.smem import smem_bytes
from flashgen.targets.target import load_target

from .programs import program

SIDES = st.sampled_from([16, 32, 64, 128, 256])
ARCHES = st.sampled_from(["h100", "a100", "b200", "mi300x", "t4"])


def tiled(
    d: int, m: int, n: int, warps: int, stages: int, target: str = "h100", dtype: str = "bf16", **how: Any
) -> Tiling:
    f = facts(program(d, "causal"))[0]
    plan = KernelPlan((("BLOCK_M", m), ("BLOCK_N", n)), warps, stages, order_of(f), **how)
    return tiling(f, plan, dtype, load_target(target))


@pytest.mark.parametrize(
    "d, m, n, warps, stages, smem",
    [  # D=64..256 on sm_90: the best tiles of plain Triton
        (64, 128, 64, 8, 3, 65_536),
        (128, 128, 128, 8, 3, 229_376),
        (256, 128, 32, 8, 4, 196_608),
        (96, 128, 64, 4, 3, 98_304),
        (192, 128, 64, 8, 1, 65_536),
    ],
)
def test_shared_memory_of_known_kernels(d: int, m: int, n: int, warps: int, stages: int, smem: int) -> None:
    assert smem_bytes(tiled(d, m, n, warps, stages)) == smem


@given(SIDES, SIDES, st.sampled_from([1, 2, 4, 8]), st.integers(2, 4), st.sampled_from([64, 96, 128]), ARCHES)
def test_predicted_shared_memory_is_monotone(
    m: int, n: int, warps: int, stages: int, d: int, arch: str
) -> None:
    here = smem_bytes(tiled(d, m, n, warps, stages, arch))
    assert smem_bytes(tiled(d, m, 2 * n, warps, stages, arch)) >= here
    assert smem_bytes(tiled(d, m, n, warps, stages + 1, arch)) >= here
    assert smem_bytes(tiled(2 * d, m, n, warps, stages, arch)) >= here


@given(SIDES, SIDES, st.integers(1, 4), st.sampled_from([64, 96]), ARCHES)
def test_the_formula_is_the_number(m: int, n: int, stages: int, d: int, arch: str) -> None:
    t = tiled(d, m, n, 4, stages, arch)
    values = {"BLOCK_M": m, "BLOCK_N": n, "stages": stages}
    formula = smem_formula(t)
    assert int(formula.subs([(s, values[str(s)]) for s in formula.free_symbols])) == smem_bytes(t)


@given(SIDES, SIDES, st.sampled_from([64, 96, 128]))
def test_on_chip_bytes_hold_at_least_the_operands(m: int, n: int, d: int) -> None:
    t = tiled(d, m, n, 4, 2)
    assert on_chip_bytes(t) >= m * d * 2 + n * d * 2 + m * d * 4
    assert on_chip_bytes(tiled(d, 2 * m, n, 4, 2)) > on_chip_bytes(t)


def test_descriptors_free_the_registers_of_addresses() -> None:
    by_pointer, described = (tiled(128, 64, 64, 4, 3, loads=x) for x in ("pointer", "descriptor"))
    assert registers(described) < registers(by_pointer) - 50
    assert smem_bytes(described) == smem_bytes(by_pointer) + 1024  # barriers


def test_a_limit_of_registers_makes_room_for_a_block_and_may_spill() -> None:
    free, limited = (tiled(96, 128, 64, 8, 3, max_registers=n) for n in (0, 128))
    assert blocks_per_sm(free, smem_bytes(free), round(registers(free)))[0] == 1
    assert blocks_per_sm(limited, smem_bytes(limited), round(registers(limited)))[0] == 2
    assert spilled(tiled(128, 128, 64, 8, 2, max_registers=96), 130.0) == 4 * 34


def test_larger_accumulators_take_more_registers() -> None:
    wanted = [registers(tiled(d, 128, 64, 4, 3)) for d in (64, 96, 128, 192)]
    assert wanted == sorted(wanted)
    assert wanted[-1] > 255


def test_occupancy_is_limited_by_what_runs_out() -> None:
    t = tiled(64, 64, 64, 4, 2)
    assert blocks_per_sm(t, 229_376, 100) == (1, "shared memory")
    assert blocks_per_sm(t, 1024, 255)[1] == "registers"
    assert blocks_per_sm(t, 0, 16)[0] == 2048 // t.threads
