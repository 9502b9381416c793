"""The suites ``choice`` and ``choice-backward``: the model's plans for the gallery beside the fastest found.

Every spec at several lengths: all candidates that the planner neither rejects nor predicts to be FAR from the
best (``top`` of them, where the table says so) are compiled, timed, and the fastest timed again beside what a
call would run. What the model predicts for each stands beside what was measured. Its constants come from full
and lower-triangular masks. ``--beside`` names the ``choices.json`` of an earlier run, whose plans are timed
in the same rounds, and ``--top`` how many candidates are.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import torch

from flashgen.ir.workload import Workload
from flashgen.plan.model.predict import kernel_us
from flashgen.plan.plan import Plan
from flashgen.runtime.source import lowered
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target
from flashgen.tune.compiling import Job, compile_all
from flashgen.tune.search import Ranking, candidates, job, rank, stage
from flashgen.tune.timing import Stage

from .cases import table
from .report import CandidateRow, Figure
from .suites import Session

#: Inputs over q and k larger than this are left out: they would be most of what is measured.
LARGEST_INPUT = 1 << 30
#: Candidates predicted to take longer than this many times the best prediction are not compiled.
FAR = 1.35


@dataclass(frozen=True)
class Pair:
    """One spec by one schedule at one shape, and how many candidates are timed (None: all)."""

    name: str
    spec: AttentionSpec
    schedule: str
    work: Workload
    top: int | None

    @property
    def key(self) -> str:
        """Its name among plans of several suites."""
        return f"{'choice-backward' if 'backward' in self.schedule else 'choice'}|{self.label}"

    @property
    def label(self) -> str:
        """How it is called in tables."""
        w = self.work
        return f"{self.name} D={self.spec.d_qk} B={w.B} H={w.Hq}/{w.Hkv} N={w.Nq}"


def pairs(suite: str) -> Iterator[Pair]:
    """The pairs of a suite: as many tokens and as wide a model as the forward's cases have."""
    row: dict[str, Any] = table()[suite]
    for name, path in gallery().items():
        spec = load_spec(path)
        if name in row.get("without", ()):
            continue
        heads = max(row["width"] // spec.d_qk, 1)
        hq, hkv = (spec.heads.q, spec.heads.kv) if spec.heads else (heads, heads)
        for n in row["seqlens"]:
            b = max(row["tokens"] * row["width"] // (n * hq * spec.d_qk), 1)
            work = Workload(b, hq, hkv, n, n)
            if _largest_input(spec, work) <= LARGEST_INPUT:
                yield Pair(name, spec, row["schedule"], work, row.get("top"))


def _largest_input(spec: AttentionSpec, w: Workload) -> int:
    sizes = {"batch": w.B, "heads": w.Hq, "kv_heads": w.Hkv, "seqlen_q": w.Nq, "seqlen_k": w.Nk}
    return max(
        (4 * math.prod(sizes[d] if isinstance(d, str) else d for d in i.shape) for i in spec.inputs.values()),
        default=0,
    )


def run(suite: str, session: Session) -> None:
    """Measure a suite; the times of all candidates go into the report as well."""
    if session.device == "cpu":
        return  # nothing is compiled there
    found = [p for p in pairs(suite) if session.wants(p.name, p.work.Nq)]
    if not found:
        return
    workers = max((os.cpu_count() or 2) - 1, 1)
    session.say(f"what calls would run: {len({p.name for p in found})} specs")
    _in_processes(list({p.name: p for p in found}.values()), workers)
    jobs: dict[Job, int] = {}
    needed: list[list[list[tuple[Plan, float]]]] = []
    for p in found:
        on = _stage(p, session)
        top = p.top if session.top is None else session.top
        needed.append([_promising(candidates(on, k, top)) for k in range(len(on.base[0].kernels))])
        session.report.choices[p.key] = replace(on.plan, workload=p.work, compiled=None).to_json()
        if earlier := session.beside.get(p.key):
            _add(on, earlier, needed[-1])
        for kernel, found_plans in enumerate(needed[-1]):
            for plan, _ in found_plans:
                jobs.setdefault(job(on, plan, kernel), len(jobs))
        del on
    session.say(f"compiling {len(jobs)} candidates in {workers} processes")
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if time.monotonic() > told + 20:
            told = time.monotonic()
            session.say(f"    {done} of {len(jobs)}")

    failed = compile_all(list(jobs), workers, tell)
    ratios: list[float] = []
    then: list[float] = []
    for number, (p, of_kernels) in enumerate(zip(found, needed, strict=True), 1):
        if session.spent():
            session.report.problems.append(f"out of time: {len(found) - number + 1} pairs from {p.label} on")
            break
        on = _stage(p, session)
        also = session.beside.get(p.key)
        rankings = [
            rank(
                on, k, plans, [failed[jobs[job(on, plan, k)]] for plan, _ in plans],
                also=also.kernels[k] if also else None,
            )
            for k, plans in enumerate(of_kernels)
        ]  # fmt: skip
        if also:
            then += _beside(suite, p, rankings, also, session)
        ratios.append(_report(suite, p, rankings, session))
        del on
        torch.cuda.empty_cache()
    _summary(suite, ratios, session)
    if then:
        near = 100 * sum(r <= 1.05 for r in then) / len(then)
        add = session.report.figures.append
        add(Figure(suite, "all pairs", "within 5% of the plan beside it", near, "%", 85.0, at_least=True))
        add(Figure(suite, "all pairs", "worst beside it", max(then), "x", 1.2))


def _add(on: Stage, earlier: Plan, needed: list[list[tuple[Plan, float]]]) -> None:
    """Add the kernels of ``earlier`` to those that are timed, where they are not among them."""
    program, target = lowered(on.spec, on.schedule).program, load_target(on.target.name)
    for k, found in enumerate(needed):
        if all(p.kernels[k] != earlier.kernels[k] for p, _ in found):
            us = kernel_us(program, target, earlier, k, on.work)
            found.append((replace(on.plan, workload=on.work).with_kernel(k, earlier), us))


def _beside(suite: str, p: Pair, rankings: Sequence[Ranking], also: Plan, session: Session) -> list[float]:
    """The time of the model's choice over that of ``also``, kernels added up; empty where one did not run."""
    times = []
    for r, k in zip(rankings, also.kernels, strict=True):
        found = next((t.measured_us for t in r.timed if t.plan == k), None)
        if found is None:
            session.report.problems.append(f"{suite} {p.label}: {k} beside it did not run")
            return []
        times.append(found)
    ratio = sum(r.chosen.measured_us for r in rankings) / sum(times)
    what = "time of the model's choice / the plan beside it"
    session.report.figures.append(Figure(suite, p.label, what, ratio, "x", 1.2))
    session.say(f"    {p.label}: {ratio:.3f} of {', '.join(k.short() for k in also.kernels)}")
    return [ratio]


def _promising(found: list[tuple[Plan, float]]) -> list[tuple[Plan, float]]:
    """The model's choice, and those that it does not predict to take far longer than the best."""
    least = min(us for _, us in found)
    return [found[0], *(x for x in found[1:] if x[1] <= FAR * least)]


def _stage(p: Pair, session: Session) -> Stage:
    return stage(p.spec, p.schedule, p.work, session.dtype)


def _in_processes(some: Sequence[Pair], workers: int) -> None:
    """Compile what calls of ``some`` would run."""
    with ProcessPoolExecutor(min(workers, len(some)), mp_context=get_context("spawn")) as pool:
        list(pool.map(_call, some))


def _call(p: Pair) -> None:
    small = Workload(1, p.work.Hq, p.work.Hkv, 128, 128)
    stage(p.spec, p.schedule, small, torch.bfloat16)


def _report(suite: str, p: Pair, rankings: Sequence[Ranking], session: Session) -> float:
    chosen = sum(r.chosen.measured_us for r in rankings)
    best = sum(r.timed[0].measured_us for r in rankings)
    goal = table()[suite]["worst"]
    session.report.figures.append(
        Figure(suite, p.label, "time of the model's choice / fastest found", chosen / best, "x", goal)
    )
    for r in rankings:
        session.report.candidates.extend(
            CandidateRow(
                suite, p.label, r.kernel, str(t.plan), round(t.predicted_us, 2), round(t.measured_us, 2),
                t.compiled.smem_bytes, t.compiled.registers, t.compiled.spill_bytes, t.plan == r.chosen.plan,
            )
            for t in r.timed
        )  # fmt: skip
        session.report.problems.extend(
            f"{suite} {p.label}: {r.kernel}: {plan}: {why}" for plan, why in r.failed if "esource" not in why
        )
    first = ", ".join(f"{r.timed[0].plan} beside {r.chosen.plan}" for r in rankings)
    session.say(f"    {p.label}: {chosen:.1f} us, {chosen / best:.3f} of the fastest: {first}")
    session.save()
    return chosen / best


def _summary(suite: str, ratios: Sequence[float], session: Session) -> None:
    if not ratios:
        return
    near = sum(r <= 1.05 for r in ratios) / len(ratios)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    add = session.report.figures.append
    add(Figure(suite, "all pairs", "within 5% of the fastest", 100 * near, "%", 90.0, at_least=True))
    add(Figure(suite, "all pairs", "geometric mean of the ratios", mean, "x"))
    errors = [math.log(c.predicted_us / c.measured_us) for c in session.report.candidates if c.chosen]
    if errors:
        middle = sum(errors) / len(errors)
        spread = math.sqrt(sum((e - middle) ** 2 for e in errors) / len(errors))
        add(Figure(suite, "all pairs", "predicted / measured, geometric mean", math.exp(middle), "x"))
        add(Figure(suite, "all pairs", "its spread (rms of the logarithm)", 100 * spread, "%"))
