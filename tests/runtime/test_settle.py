"""Which candidates are compiled, and which of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import pytest

from flashgen.errors import PlanError
from flashgen.plan.backend import Room
from flashgen.plan.plan import KernelPlan, Measured, Order, Plan
from flashgen.plan.steer import REFUSALS
from flashgen.runtime.launch import Compiled
from flashgen.runtime.settle import ABREAST, FAR, Settling
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

    def compiled(self, plans: Sequence[Plan]) -> list[Compiled | str]:
        self.asked += map(side, plans)
        found = [self.spills.get(side(p), 0) for p in plans]
        return [f if isinstance(f, str) else cast(Compiled, Built(Measured(1, 128, f))) for f in found]


def side(p: Plan) -> int:
    return p.kernels[0].side("BLOCK_N")


def choice(
    n: int, us: float, num_warps: int = 4, ahead: bool = False, held: float = 100, elements: float = 16
) -> Choice:
    kernel = KernelPlan((("BLOCK_M", 64), ("BLOCK_N", n)), num_warps, 2, Order(("b",)))
    plan = Plan("flash2", "h100", "bf16", (kernel,), 0, 0, 0.0)
    return Choice(
        plan, Room(kernel, kernel, (ahead, "pointer"), held, 52, elements, 255, num_warps, ahead, 1, 100), us
    )


def test_that_runs_which_the_compiler_makes_the_fastest() -> None:
    compiler = Compiler({}, {16: 12.0, 32: 11.0, 64: 11.5})
    (plan, _), *_ = compiler.search().settled([choice(16, 10.0), choice(32, 10.5), choice(64, 11.0)])
    assert side(plan) == 32
    assert compiler.asked == [16, 32, 64]


def test_all_that_were_accepted_are_given_the_fastest_first() -> None:
    compiler = Compiler({64: 300, 128: "no"}, {16: 12.0, 32: 11.0})
    found = compiler.search().settled([choice(n, 10.0) for n in (16, 32, 64, 128)])
    assert [side(p) for p, _ in found] == [32, 16]


def test_what_is_predicted_far_behind_is_not_compiled_and_no_more_than_a_few_are() -> None:
    us = dict.fromkeys(range(1000), 1.0)
    compiler = Compiler({}, us)
    compiler.search().settled([choice(16, 10.0), choice(32, 10.0 * FAR), choice(64, 10.1 * FAR)])
    assert compiler.asked == [16, 32]
    compiler = Compiler({}, us)
    compiler.search().settled([choice(n, 10.0) for n in range(100, 200)])
    assert compiler.asked == list(range(100, 100 + ABREAST))


def test_where_all_spill_the_least_does_and_where_none_compiles_the_reasons_are_told() -> None:
    compiler = Compiler({16: 400, 32: 300, 64: "too much shared memory"}, {})
    some = [choice(n, 10.0 + n, num_warps=w) for w, n in enumerate((16, 32, 64), 1)]
    (plan, _), *_ = compiler.search().settled(some)
    assert side(plan) == 32
    with pytest.raises(PlanError, match="too much shared memory"):
        Compiler({64: "too much shared memory"}, {}).search().settled(some[2:])


def test_those_that_ask_for_as_much_as_one_that_spilled_are_not_compiled() -> None:
    compiler = Compiler(dict.fromkeys(range(500), 300), {})
    compiler.search().settled([choice(n, 10.0) for n in range(16, 400, 16)])
    assert len(compiler.asked) == ABREAST < REFUSALS


def test_dots_that_run_ahead_say_nothing_of_those_that_do_not() -> None:
    compiler = Compiler(dict.fromkeys(range(100, 100 + ABREAST), 4000), dict.fromkeys(range(300), 1.0))
    ahead = [choice(n, 10.0, ahead=True) for n in range(100, 120)]
    (plan, _), *_ = compiler.search().settled([*ahead, choice(200, 20.0, num_warps=8)])
    assert compiler.asked == [*range(100, 100 + ABREAST), 200]
    assert side(plan) == 200


def test_what_spilled_says_how_large_tiles_may_be() -> None:
    compiler = Compiler({n: 4 * (100 + 10 * n - 255) for n in (64, 32, 16)}, dict.fromkeys(range(300), 1.0))
    some = [choice(n, 20.0 - n / 10, elements=n, held=40) for n in (64, 56, 48, 40, 32, 28, 16, 8)]
    (plan, _), *_ = compiler.search().settled([*some[:1], *(replace(c, us=100.0) for c in some[1:])])
    assert compiler.asked[0] == 64
    assert compiler.asked[1] <= 28, "the least that was refused is not approached step by step"
    assert len(compiler.asked) <= 1 + ABREAST
    assert side(plan) in (28, 16, 8)
