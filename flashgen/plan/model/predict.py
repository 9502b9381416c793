"""The time of a whole plan at a workload."""

from __future__ import annotations

from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan
from flashgen.targets.target import Target

from .cost import kernel_cost
from .facts import facts
from .tiling import tiling

#: The host's time for the descriptors of K and V, measured through Triton's launcher; a call whose kernels
#: take less than HOST_BOUND_US waits for the host.
DESCRIPTORS_US = 12.0
HOST_BOUND_US = 50.0


def kernel_us(program: Program, target: Target, plan: Plan, kernel: int, w: Workload) -> float:
    """The predicted time of one kernel, on ``target``, which ``plan`` is for."""
    t = tiling(facts(program)[kernel], plan.kernels[kernel], plan.dtype, target)
    return kernel_cost(t, w).us


def plan_us(program: Program, target: Target, plan: Plan, w: Workload) -> float:
    """The predicted time of a call: its kernels, and what the host adds where it is waited for."""
    us = sum(kernel_us(program, target, plan, i, w) for i in range(len(plan.kernels)))
    described = sum(k.loads == "descriptor" for k in plan.kernels)
    return us + described * DESCRIPTORS_US if us < HOST_BOUND_US else us
