"""Which candidates are compiled, and which of them runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from flashgen.errors import PlanError
from flashgen.plan.plan import KernelPlan, Measured, Order, Plan
from flashgen.runtime.launch import Compiled
from flashgen.runtime.settle import HOPED, TRIES, Settling
from flashgen.runtime.source import Choice


@dataclass(frozen=True)
class Built:
    """A compiled kernel, as far as the search looks at it."""

    measured: Measured


class Compiler:
    """Says what becomes of each plan, by its BLOCK_N; notes what it was asked."""

    def __init__(self, spills: dict[int, int | str], us: dict[int, float]) -> None:
        self.spills, self.us = spills, us
        self.asked: list[int] = []

    def search(self) -> Settling:
        return Settling(0, self.compiled, lambda p, _: self.us[side(p)])

    def compiled(self, plan: Plan) -> Compiled | str:
        self.asked.append(side(plan))
        found = self.spills.get(side(plan), 0)
        return found if isinstance(found, str) else cast(Compiled, Built(Measured(1 << 10, 128, found)))


def side(p: Plan) -> int:
    return p.kernels[0].side("BLOCK_N")


def choice(n: int, us: float, hoped: float | None = None, **how: Any) -> Choice:
    kernel = KernelPlan((("BLOCK_M", 64), ("BLOCK_N", n)), 4, 2, Order(("b",)))
    plan = Plan("flash2", "h100", "bf16", (replace(kernel, **how),), 0, 0, 0.0)
    return Choice(plan, 100.0, us, us if hoped is None else hoped)


def test_the_second_runs_where_the_compiler_makes_it_the_faster() -> None:
    compiler = Compiler({}, {16: 12.0, 32: 11.0, 64: 1.0})
    plan, _ = compiler.search().settled([choice(16, 10.0), choice(32, 10.5), choice(64, 11.0)])
    assert side(plan) == 32
    assert compiler.asked == [16, 32], "a third has no spill to lose"


def test_nothing_more_is_compiled_where_nothing_promises_less() -> None:
    compiler = Compiler({}, {16: 10.0})
    compiler.search().settled([choice(16, 10.0), choice(32, 10.5)])
    assert compiler.asked == [16]


def test_a_spill_that_is_only_foreseen_is_worth_a_compile() -> None:
    compiler = Compiler({}, {16: 12.0, 32: 12.0, 64: 9.0})
    some = [choice(16, 10.0), choice(32, 10.5), choice(256, 10.6), choice(64, 14.0, hoped=9.0)]
    plan, _ = compiler.search().settled(some)
    assert side(plan) == 64
    assert compiler.asked == [16, 32, 64]


def test_hope_ends_after_a_few() -> None:
    compiler = Compiler(dict.fromkeys(range(100, 120), 300), {16: 12.0, 32: 12.0})
    hoped = [choice(n, 14.0, hoped=9.0, num_warps=w) for w, n in enumerate(range(100, 110), 8)]
    plan, _ = compiler.search().settled([choice(16, 10.0), choice(32, 10.5), *hoped])
    assert side(plan) == 16
    assert len(compiler.asked) == 2 + HOPED


def test_where_all_spill_the_least_does_and_where_none_compiles_the_reasons_are_told() -> None:
    compiler = Compiler({16: 400, 32: 300, 64: "too much shared memory"}, {})
    some = [choice(n, 10.0 + n, num_warps=w) for w, n in enumerate((16, 32, 64), 1)]
    plan, _ = compiler.search().settled(some)
    assert side(plan) == 32
    with pytest.raises(PlanError, match="too much shared memory"):
        Compiler({64: "too much shared memory"}, {}).search().settled(some[2:])


def test_those_that_hold_as_much_as_one_that_spilled_are_not_compiled() -> None:
    compiler = Compiler(dict.fromkeys(range(500), 300), {})
    compiler.search().settled([choice(n, float(n)) for n in range(16, 400, 16)])
    assert len(compiler.asked) == 1 < TRIES
