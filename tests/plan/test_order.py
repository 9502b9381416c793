"""Launch orders: who shares what, side by side; and what another order is predicted to take."""

from __future__ import annotations

import pytest

from flashgen.driver import lower_spec
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.model.launches import effect_lines, effects
from flashgen.plan.order import best_order, order_of, orders, traffic
from flashgen.plan.search import candidates
from flashgen.spec import load_spec
from flashgen.spec.gallery import find, gallery
from flashgen.targets.target import load_target

H100 = load_target("h100")
LONG = Workload(2, 16, 16, 8192, 8192)
MANY = Workload(8, 64, 64, 2048, 2048)


def kernels(name: str, schedule: str = "flash2") -> tuple[KernelFacts, ...]:
    return facts(lower_spec(load_spec(find(name)), schedule).program)


@pytest.mark.parametrize("schedule", ["flash2", "backward"])
def test_batch_entries_that_share_a_bias_are_launched_together(schedule: str) -> None:
    """The pair bias of all rows of an alignment: 1.07 GB that b > h > q_tile reads once for each row. On an
    H100 the forward took 3.03 ms so and 1.60 ms with h > q_tile > b."""
    for f in [k for k in kernels("evoformer", schedule) if "b" in order_of(k).axes]:
        best = best_order(f, H100, "bf16", MANY)
        assert best.axes[-1] == "b"
        mine, usual = (traffic(f, o, H100, "bf16", MANY)[0] for o in (best, order_of(f)))
        assert usual > 5 * mine


def test_others_keep_the_rows_of_a_head_together() -> None:
    """What only a head's rows share, K and V, asks for nothing else."""
    for name in set(gallery()) - {"evoformer", "swin_v2"}:
        for schedule in ("flash2", "backward"):
            for f in kernels(name, schedule):
                if f.kernel.longest is None and f.row_side:
                    assert best_order(f, H100, "bf16", LONG).axes == order_of(f).axes, f.kernel.name


def test_only_heads_move_where_the_longest_rows_come_first() -> None:
    (f,) = kernels("causal")
    assert {o.axes for o in orders(f)} == {("b", "h", "q_tile"), ("h", "b", "q_tile")}
    assert all(o.reverse == ("q_tile",) and o.group for o in orders(f))


def test_heads_that_share_k_and_v_count_them_once() -> None:
    """Eight query heads of one KV head, next to each other: K and V once for the eight."""
    f = kernels("full")[0]
    w = Workload(1, 32, 4, 4096, 4096)
    rows = 4096 * 128 * 2
    seen = traffic(f, order_of(f), H100, "bf16", w)[0]
    assert seen == pytest.approx(2 * 32 * rows + 2 * 4 * rows, rel=0.02)


def test_effects_of_other_orders() -> None:
    f = kernels("causal")[0]
    best = candidates(f.program, 0, H100, "bf16", LONG)[0]
    mine, others = effects(f, best, "bf16", H100, LONG)
    assert best.cost is not None
    assert mine.us == pytest.approx(best.cost.us, rel=0.1), "the model and the programs given out agree"
    by = {o.name: o for o in others}
    few = Workload(1, 8, 8, 4096, 4096)
    short = effects(f, candidates(f.program, 0, H100, "bf16", few)[0], "bf16", H100, few)
    assert {o.name: o.us for o in short[1]}["the shortest programs first"] > 1.02 * short[0].us
    assert by["the shortest programs first"].us >= 0.999 * mine.us
    assert by["all heads together"].dram > mine.dram


def test_the_explanation_names_the_usual_order_and_its_price() -> None:
    f = kernels("evoformer")[0]
    best = candidates(f.program, 0, H100, "bf16", MANY)[0]
    (_, line) = effect_lines(f, best, "bf16", H100, MANY)
    assert line.startswith("  b > h > q_tile: ")
    assert "slower, DRAM" in line
