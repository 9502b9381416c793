"""DRAM bytes: against an H100's counters, and against what programs share."""

from __future__ import annotations

from typing import Any

import pytest

from flashgen.driver import lower_spec
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import facts
from flashgen.plan.order import order_of, traffic
from flashgen.plan.search import candidates
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.targets.target import load_target

LONG = Workload(4, 32, 32, 4096, 4096)
FEW = Workload(4, 16, 16, 4096, 4096)


def dram_gb(name: str, schedule: str, kernel: int, w: Workload, **fields: Any) -> float:
    """GB of DRAM of a kernel of the gallery on H100, as it is planned in fp16."""
    spec = load_spec(find(name)).model_copy(update=fields)
    cost = candidates(lower_spec(spec, schedule).program, kernel, load_target("h100"), "fp16", w)[0].cost
    assert cost is not None
    return cost.hbm_bytes / 1e9


@pytest.mark.parametrize(
    ("name", "schedule", "kernel", "w", "head_dim", "measured"),
    [
        ("full", "flash2", 0, FEW, 128, 0.2627),
        ("causal", "flash2", 0, LONG, 64, 0.2645),
        ("sliding_window", "flash2", 0, FEW, 128, 0.2632),
        ("causal", "backward", 0, LONG, 64, 0.4045),
        ("causal", "backward", 1, LONG, 64, 0.4071),
    ],
)
def test_the_model_agrees_with_the_counters(
    name: str, schedule: str, kernel: int, w: Workload, head_dim: int, measured: float
) -> None:
    """Read and written, by Nsight Compute on an H100 (``flashgen bench counters``)."""
    assert dram_gb(name, schedule, kernel, w, head_dim=head_dim) == pytest.approx(measured, rel=0.05)


def test_tiles_of_one_head_share_what_they_load_outside_of_loops() -> None:
    """The scores of standard attention: S written, Q and K read, of which a head's 2 MB stay in L2."""
    pairs, rows = 4 * 32 * 4096**2, 4 * 32 * 4096
    assert dram_gb("full", "standard", 0, LONG, head_dim=64) == pytest.approx(
        (pairs * 4 + 2 * rows * 64 * 2) / 1e9
    )


def test_a_gather_reads_no_more_than_its_table() -> None:
    """T5's 32 numbers a head cost nothing beside Q, K, V and O, and the second part of lse."""
    plain = dram_gb("full", "flash2", 0, LONG, head_dim=64) + 4 * 32 * 4096 * 4 / 1e9
    assert dram_gb("t5_bias", "flash2", 0, LONG) == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize(("heads", "times"), [(32, 1), (64, 8)])
def test_a_bias_of_all_batch_entries_is_read_again_where_l2_cannot_hold_it(heads: int, times: int) -> None:
    """64 heads of 512 x 512 in fp32 are 67 MB, more than an H100's L2 of 50 MB; 32 heads fit. Programs in the
    usual order, where the next batch entry follows the last head of one."""
    f = facts(lower_spec(load_spec(find("evoformer"))).program)[0]
    bias, rows = heads * 512**2 * 4, 8 * heads * 512
    found, _ = traffic(f, order_of(f), load_target("h100"), "fp16", Workload(8, heads, heads, 512, 512))
    assert found == pytest.approx(times * bias + rows * (4 * 32 * 2 + 4), rel=0.05)


def test_the_gradient_of_a_bias_reads_the_bias_once() -> None:
    """Its kernel sums over the batch in a loop: a program reads the same tile of the bias in every pass."""
    bias = 32 * 4096**2 * 4
    assert dram_gb("evoformer", "backward", 2, LONG) == pytest.approx(2 * bias / 1e9, rel=0.05)
