"""The time of a whole plan at a workload, and which of a few plans is best there."""

from __future__ import annotations

from collections.abc import Sequence

from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Measured, Plan
from flashgen.plan.resources import tiling
from flashgen.targets.target import load_target

from .cost import kernel_cost
from .facts import facts

#: The host's time for the descriptors of K and V, measured through Triton's launcher; a call whose kernels
#: take less than HOST_BOUND_US waits for the host.
DESCRIPTORS_US = 12.0
HOST_BOUND_US = 50.0


def kernel_us(
    program: Program, plan: Plan, kernel: int, w: Workload, compiled: Measured | None = None
) -> float:
    """The predicted time of one kernel; ``compiled``: the compiler's numbers, where it was asked."""
    t = tiling(facts(program)[kernel], plan.kernels[kernel], plan.dtype, load_target(plan.target))
    return kernel_cost(t, w, compiled).us


def plan_us(program: Program, plan: Plan, w: Workload, compiled: Sequence[Measured] | None = None) -> float:
    """The predicted time of a call: its kernels, and what the host adds where it is waited for."""
    known: Sequence[Measured | None] = compiled or [None] * len(plan.kernels)
    us = sum(kernel_us(program, plan, i, w, c) for i, c in enumerate(known))
    described = sum(k.loads == "descriptor" for k in plan.kernels)
    return us + described * DESCRIPTORS_US if us < HOST_BOUND_US else us


def best(
    program: Program, plans: Sequence[Plan], w: Workload, compiled: Sequence[Sequence[Measured]] | None = None
) -> int:
    """The index of the plan with the least predicted time at ``w``."""
    known: Sequence[Sequence[Measured] | None] = compiled or [None] * len(plans)
    times = [plan_us(program, p, w, c) for p, c in zip(plans, known, strict=True)]
    return times.index(min(times))
