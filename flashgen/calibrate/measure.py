"""The measuring: a sample of the planner's candidates for plain attention, timed on the current CUDA device,
with a device copy and a matrix product. Nothing else of a target is asked for, so any GPU will do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import MAX_SPILL_BYTES, Plan
from flashgen.plan.search import Candidate, candidates, make_plan
from flashgen.runtime.cache import toolchain
from flashgen.runtime.device import arch_of
from flashgen.runtime.variants import Variant
from flashgen.targets.target import Target
from flashgen.tune.compiling import Job, compile_all
from flashgen.tune.search import job, tensors
from flashgen.tune.timing import Ground
from flashgen.verify.case import DTYPES

from .fit import Tell
from .measurements import SCHEDULE, Device, Measurements, Row, program_of, spec_of
from .start import reported

#: Rounds in which candidates are timed, and how many of them in one: few, so that the host, which has a
#: fixed head start, keeps ahead of kernels of a few microseconds.
ROUNDS, TOGETHER = 5, 4
#: The copy's bytes and the sides of the matrix product, each timed so often in one go after as much warm-up.
COPY_BYTES, MATMUL_SIDE, TIMES = 1 << 30, 8192, 200


@dataclass(frozen=True)
class Place:
    """One attention at one workload, and the plans to time there."""

    mask: str
    head_dim: int
    work: Workload
    plans: tuple[Plan, ...]


@lru_cache(maxsize=1)
def table() -> Mapping[str, Any]:
    """``cases.yaml``."""
    from ruamel.yaml import YAML

    text = Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return loaded


def workload(head_dim: int, n: int) -> Workload:
    """As many tokens and as wide a model as the table says; of the shortest, one sequence."""
    t = table()
    heads = max(t["width"] // head_dim, 1)
    batch = 1 if n == min(t["seqlens"]) else max(t["tokens"] // n, 1)
    return Workload(batch, heads, heads, n, n)


def places(target: Target) -> Iterator[Place]:
    """All that is to be measured, the table's first lengths first. A tiling is timed at every length: the
    compiler, which takes longest, sees it once."""
    t = table()
    sampled: dict[tuple[str, int], tuple[Plan, ...]] = {}
    for n in t["seqlens"]:
        for head_dim in t["head_dims"]:
            for mask in t["masks"]:
                of = mask, head_dim
                if of not in sampled:
                    sampled[of] = _sample(target, mask, head_dim)
                yield Place(mask, head_dim, workload(head_dim, n), sampled[of])


def _sample(target: Target, mask: str, head_dim: int) -> tuple[Plan, ...]:
    """Of the candidates near the predicted best at each length, some evenly by rank."""
    t, program = table(), program_of(mask, head_dim)
    found: dict[str, Plan] = {}
    for n in t["seqlens"]:
        ranked = [c for c in candidates(program, 0, target, t["dtype"], workload(head_dim, n)) if _us(c)]
        near = [c for c in ranked if _us(c) <= t["within"] * _us(ranked[0])]
        for i in range(t["each"]):
            c = near[round(i * (len(near) - 1) / max(t["each"] - 1, 1))]
            found.setdefault(str(c.plan), make_plan(program, target, t["dtype"], [c], None))
    return tuple(found.values())


def _us(c: Candidate) -> float:
    return c.cost.us if c.cost is not None and not c.rejected else 0.0


def device_at_hand() -> Device:
    """The current CUDA device; raises ``PlanError`` where there is none."""
    if not torch.cuda.is_available():
        raise PlanError(
            "calibrate measures on a GPU, and torch finds none; --measurements FILE fits again to what was "
            "measured elsewhere"
        )
    index = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(index)
    versions = ", ".join(f"{n} {toolchain()[n]}" for n in ("torch", "triton"))
    return Device(torch.cuda.get_device_name(index), arch_of(properties), versions, reported(properties))


def measure(device: Device, target: Target, seconds: float, jobs: int | None, tell: Tell) -> Measurements:
    """Compile, time, and return all rows. Once ``seconds`` have passed no new length is begun."""
    deadline = time.monotonic() + seconds
    dtype = DTYPES[table()["dtype"]]
    tell("copy and matrix product", 0, 1)
    device = replace(device, copy_gb_per_s=_copy(), matmul_tflop_per_s=_matmul(dtype))
    tell("copy and matrix product", 1, 1)
    todo = list(places(target))
    numbers: dict[Job, int] = {}
    for number, p in enumerate(todo, 1):
        on = _ground(p, dtype)
        for plan in p.plans:
            numbers.setdefault(job(on, plan, 0), len(numbers))
        del on
        tell("kinds of tensors", number, len(todo))
    torch.cuda.empty_cache()
    failed = compile_all(list(numbers), jobs, lambda done: tell("compiling", done, len(numbers)))
    rows: list[Row] = []
    ready: dict[Job, Variant | str] = {}
    for number, p in enumerate(todo, 1):
        if rows and time.monotonic() > deadline and p.work.Nq != rows[-1].work.Nq:
            break
        on = _ground(p, dtype)
        for plan in p.plans:
            key = job(on, plan, 0)
            if key not in ready:
                ready[key] = failed[numbers[key]] or on.load(plan, 0)
        rows += _timed(on, p, [(plan, ready[job(on, plan, 0)]) for plan in p.plans])
        del on
        torch.cuda.empty_cache()
        tell("timing", number, len(todo))
    return Measurements(device, tuple(rows))


def _ground(p: Place, dtype: torch.dtype) -> Ground:
    spec = spec_of(p.mask, p.head_dim)
    return Ground(spec.canonical_json(), SCHEDULE, p.work, tensors(spec, SCHEDULE, p.work, dtype))


def _timed(on: Ground, p: Place, plans: list[tuple[Plan, Variant | str]]) -> Iterator[Row]:
    ready = [(plan, found) for plan, found in plans if not isinstance(found, str) and _runs(found)]
    for first in range(0, len(ready), TOGETHER):
        part = ready[first : first + TOGETHER]
        times = on.times([variant for _, variant in part], 0, ROUNDS)
        for (plan, (_, compiled)), us in zip(part, times, strict=True):
            k = plan.kernels[0]
            yield Row(p.mask, p.head_dim, plan.dtype, p.work, k, compiled[0].measured, us)


def _runs(variant: Variant) -> bool:
    """Whether a call would run it: one that spills more gives way to another candidate."""
    return variant[1][0].measured.spill_bytes <= MAX_SPILL_BYTES


def _copy() -> float:
    """GB/s of a device copy, read and written."""
    x = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    return 2 * COPY_BYTES / _seconds(lambda: y.copy_(x)) / 1e9


def _matmul(dtype: torch.dtype) -> float:
    """TFLOP/s of a large matrix product of normal numbers (zeros draw less power)."""
    x, y = (torch.randn(MATMUL_SIDE, MATMUL_SIDE, device="cuda").to(dtype) for _ in range(2))
    return 2 * MATMUL_SIDE**3 / _seconds(lambda: x @ y) / 1e12


def _seconds(run: Callable[[], object]) -> float:
    """The time of one ``run`` among many."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    for _ in range(TIMES):
        run()
    start.record()
    for _ in range(TIMES):
        run()
    end.record()
    torch.cuda.synchronize()
    return 1e-3 * float(start.elapsed_time(end)) / TIMES
