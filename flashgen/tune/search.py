"""The search: for each kernel of a program, the promising candidates compiled, all timed once, the fastest
and the model's choice timed again side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from flashgen import __version__
from flashgen.backends.triton.specialise import describable_loads
from flashgen.ir.workload import Workload
from flashgen.plan.plan import KernelPlan, Measured, Plan
from flashgen.runtime import op
from flashgen.runtime.cache import toolchain
from flashgen.runtime.signature import makes_gradients, signature, through_lse
from flashgen.runtime.source import boxes, searches
from flashgen.runtime.tuned import Tuned
from flashgen.runtime.variants import Variant
from flashgen.spec.model import AttentionSpec
from flashgen.verify.case import Case

from .compiling import Job, compile_all
from .timing import Ground, Stage, gpu_at_hand

#: Rounds in which every candidate is timed, and those in which the last FINALISTS are.
FIRST_ROUNDS = 3
LAST_ROUNDS = 11
FINALISTS = 6
#: Candidates timed in one set of alternating rounds.
TOGETHER = 16
#: Of every tensor, and of dropout.
SEED = 0
#: Says what is under way, and how much of it is done.
Tell = Callable[[str, int, int], object]


def _quiet(what: str, done: int, of: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Timed:
    """One candidate for one kernel: what the model predicts at the workload and what was measured.

    ``predicted_us`` has a launch's own time in it, as ``measured_us`` has.
    """

    plan: KernelPlan
    predicted_us: float
    measured_us: float
    compiled: Measured


@dataclass(frozen=True)
class Ranking:
    """The candidates of one kernel, fastest first; ``chosen`` is what the model had chosen, timed beside the
    fastest; ``failed`` says why others did not run."""

    kernel: str
    timed: tuple[Timed, ...]
    chosen: Timed
    failed: tuple[tuple[KernelPlan, str], ...]


def tensors(
    spec: AttentionSpec,
    schedule: str,
    work: Workload,
    dtype: torch.dtype,
    left: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """What the program is given, by name: normal tensors, the same at every call; of a backward, with what a
    forward ``left``, its results by name (None: those of a call)."""
    gen = torch.Generator(device="cuda").manual_seed(SEED)

    def normal(heads: int, rows: int, d: int) -> torch.Tensor:
        return torch.randn(work.B, heads, rows, d, generator=gen, device="cuda").to(dtype)

    case = Case(work.B, work.Hq, work.Hkv, work.Nq, work.Nk, seed=SEED)
    given = {
        "q": normal(work.Hq, work.Nq, spec.d_qk),
        "k": normal(work.Hkv, work.Nk, spec.d_qk),
        "v": normal(work.Hkv, work.Nk, spec.d_v),
        **case.inputs(spec, "cuda"),
    }
    dropping = torch.tensor([SEED], device="cuda") if spec.dropout else None
    text = spec.canonical_json()
    if makes_gradients(schedule):
        if left is None:
            matrices, inputs = [given[n] for n in ("q", "k", "v")], [given[n] for n in spec.inputs]
            with torch.no_grad():
                out, lse, rest = op.attention(*matrices, inputs, text, dropping)
            left = dict(zip(("o", *signature(text).lse_parts), (out, lse, *rest), strict=False))
        given |= {**left, "do": normal(work.Hq, work.Nq, spec.d_v)}
        if through_lse(schedule):
            given["dlse"] = torch.randn(given["lse"].shape, generator=gen, device="cuda")
    if dropping is not None:
        given["seed"] = dropping
    return {n: given[n] for n in signature(text).given(schedule)}


def stage(spec: AttentionSpec, schedule: str, work: Workload, dtype: torch.dtype) -> Stage:
    """The program on its tensors."""
    return Stage(spec.canonical_json(), schedule, work, tensors(spec, schedule, work, dtype))


def candidates(on: Stage, kernel: int, top: int | None) -> list[tuple[Plan, float]]:
    """The ``top`` most promising plans for this kernel at the stage's workload (None: all that the planner
    does not reject), each with its predicted time; the model's choice is among them."""
    base = replace(on.plan, workload=on.work)
    described = describable_loads(boxes(on.spec, on.schedule), on.kinds)
    of = searches(on.spec, base, described)[kernel]
    # ``waiting`` starts with the plan it is given, and that is the model's choice here
    return [(of.plan(c), c.cost.us if c.cost else math.inf) for c in of.waiting[:top]]


def job(on: Ground, plan: Plan, kernel: int) -> Job:
    """The compile of ``plan``'s kernel of this number for these tensors and their device."""
    plan = replace(plan, workload=None, predicted_us=0.0, smem_bytes=0, registers=0, compiled=None)
    return Job(on.spec, plan, kernel, tuple(on.kinds.items()), gpu_at_hand())  # equal at every workload


def rank(
    on: Stage, kernel: int, plans: Sequence[tuple[Plan, float]], failed: Sequence[str], tell: Tell = _quiet,
    also: KernelPlan | None = None,
) -> Ranking:  # fmt: skip
    """Time ``plans`` (compiled before, ``failed`` saying which were not); the first is the model's choice.
    ``also`` is timed to the end as well, however it fares."""
    ready: list[tuple[int, Variant]] = []
    out: list[tuple[KernelPlan, str]] = []
    for i, ((plan, _), why) in enumerate(zip(plans, failed, strict=True)):
        found = why or on.load(plan, kernel)
        if isinstance(found, str):
            out.append((plan.kernels[kernel], found))
        else:
            ready.append((i, found))
    quick: list[tuple[float, int]] = []
    for start in range(0, len(ready), TOGETHER):
        part = ready[start : start + TOGETHER]
        quick += zip(on.times([v for _, v in part], kernel, FIRST_ROUNDS), [i for i, _ in part], strict=True)
        tell("timing", min(start + TOGETHER, len(ready)), len(ready))
    quick.sort()
    first = dict(ready)
    finalists = [i for _, i in quick[:FINALISTS]]
    kept = [0, *(i for i, (p, _) in enumerate(plans) if p.kernels[kernel] == also)]
    finalists += [i for i in kept if i in first and i not in finalists]
    last = dict(zip(finalists, on.times([first[i] for i in finalists], kernel, LAST_ROUNDS), strict=True))

    def timed(i: int, us: float) -> Timed:
        plan, predicted = plans[i]
        return Timed(plan.kernels[kernel], predicted, us, first[i][1][kernel].measured)

    ended = sorted((us, i) for i, us in last.items())
    rest = [(us, i) for us, i in quick if i not in last]
    if 0 not in last:
        raise AssertionError("the plan that a call runs did not run")
    return Ranking(
        on.base[0].kernels[kernel].name,
        tuple(timed(i, us) for us, i in ended + rest),
        timed(0, last[0]),
        tuple(out),
    )


def _said(tell: Tell, kernel: str, what: str, done: int, of: int) -> object:
    return tell(f"{kernel}: {what}", done, of)


def tune(
    spec: AttentionSpec,
    schedule: str,
    work: Workload,
    dtype: torch.dtype,
    top: int | None = 48,
    workers: int | None = None,
    tell: Tell = _quiet,
) -> tuple[Tuned, list[Ranking]]:
    """Search every kernel of a program on the current CUDA device: the best plan, and all that was timed."""
    on = stage(spec, schedule, work, dtype)
    plan, rankings = replace(on.plan, workload=work), []
    for kernel, k in enumerate(on.base[0].kernels):
        say = partial(_said, tell, k.name)
        found = candidates(on, kernel, top)
        jobs = [job(on, p, kernel) for p, _ in found]
        failed = compile_all(jobs, workers, partial(say, "compiling", of=len(jobs)))
        ranking = rank(on, kernel, found, failed, say)
        rankings.append(ranking)
        best = next(p for p, _ in found if p.kernels[kernel] == ranking.timed[0].plan)
        plan = plan.with_kernel(kernel, best)
    versions = {"flashgen": __version__, **{n: toolchain()[n] for n in ("triton", "torch")}}
    measured = tuple(round(r.timed[0].measured_us, 2) for r in rankings)
    tuned = Tuned(
        spec=on.spec,
        device=torch.cuda.get_device_name(),
        plan=replace(plan, measured_us=measured, compiled=tuple(r.timed[0].compiled for r in rankings)),
        untuned_us=tuple(round(r.chosen.measured_us, 2) for r in rankings),
        tried=sum(len(r.timed) for r in rankings),
        versions=", ".join(f"{n} {v}" for n, v in versions.items()),
    )
    return tuned, rankings
