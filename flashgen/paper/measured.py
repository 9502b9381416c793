"""Times on the CUDA device at hand, kernel by kernel; None where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from flashgen.driver import Lowered
from flashgen.errors import PlanError
from flashgen.plan.plan import Workload

from .programs import DTYPE, fastest

if TYPE_CHECKING:
    from flashgen.tune.timing import Stage

ROUNDS = 7
DTYPES = {"fp16": torch.float16}


def device() -> str:
    """The CUDA device's name; empty where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def milliseconds(of: Lowered, w: Workload, sides: Mapping[str, int] | None = None) -> float | None:
    """The time of all kernels: with the plan that a call would run, or with these sides. None where the
    device's planner or compiler rejects them, or its memory is too small."""
    from flashgen.tune.search import stage

    try:
        on = stage(of.spec, of.program.schedule, w, DTYPES[DTYPE])
        for name in of.spec.inputs:  # every sequence has its full length
            on.given[name].fill_(w.Nk)
        us = [_kernel(on, of, i, w, sides) for i in range(len(of.program.kernels))]
    except (PlanError, torch.OutOfMemoryError):
        return None
    finally:
        torch.cuda.empty_cache()
    return None if None in us else sum(x for x in us if x is not None) / 1e3


def _kernel(on: Stage, of: Lowered, i: int, w: Workload, sides: Mapping[str, int] | None) -> float | None:
    variant = on.base
    if sides is not None:
        plans = fastest(of, on.plan.target, w, sides)
        if isinstance(plans, str):
            return None
        kernels = (*on.plan.kernels[:i], plans[i], *on.plan.kernels[i + 1 :])
        found = on.load(replace(on.plan, kernels=kernels), i)
        if isinstance(found, str):
            return None
        variant = found
    return on.times([variant], i, ROUNDS)[0]
