"""Measurements that no GPU made: what the time model itself says under numbers that the fit must find."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flashgen.calibrate import measure
from flashgen.calibrate.fit import logs, with_values
from flashgen.calibrate.measurements import Device, Measurements, Row, facts_of
from flashgen.plan.plan import Measured, Plan
from flashgen.plan.resources import registers, tiling
from flashgen.plan.smem import smem_bytes
from flashgen.targets.target import Target, load_target

DEVICE = Device("Some GPU", "sm_90", "torch 1, triton 2", {"sms": 100.0}, 3017.0, 742.0)
#: A smaller table: head dims of both kinds of dots' shapes, and tilings a length.
TABLE = {**measure.table(), "head_dims": [64, 256], "each": 3}
_sample = measure._sample
_sampled: dict[tuple[str, int], tuple[Plan, ...]] = {}


def sample(target: Target, mask: str, head_dim: int) -> tuple[Plan, ...]:
    """The plans that are measured, found once."""
    if (mask, head_dim) not in _sampled:
        _sampled[mask, head_dim] = _sample(target, mask, head_dim)
    return _sampled[mask, head_dim]


def made(truth: Mapping[str, float], every: int = 3) -> Measurements:
    """Every so many of the kernels that a small calibration measures, under the numbers ``truth``."""
    start = load_target("h100")
    todo = [(p, plan) for p in measure.places(start) for plan in p.plans][::every]
    rows = []
    for p, plan in todo:
        k = plan.kernels[0]
        t = tiling(facts_of(p.mask, p.head_dim), k, plan.dtype, start)
        sizes = Measured(smem_bytes(t), round(registers(t)), 0)
        rows.append(
            timed(Row(p.mask, p.head_dim, plan.dtype, p.work, k, sizes, 1.0), with_values(start, truth))
        )
    return Measurements(DEVICE, tuple(rows))


def timed(row: Row, target: Target) -> Row:
    """``row`` with the time that the model gives it."""
    (off,) = logs(target, [row])
    return Row(row.mask, row.head_dim, row.dtype, row.work, row.plan, row.compiled, row.us * math.exp(off))
