"""Shared memory, registers and spills as predicted beside the compiler's, for candidates of many programs.

Specs and targets come in; a ``Usage`` for each candidate that was compiled goes out. No GPU is needed: a
candidate is compiled for its target in a process of its own, and what the compiler said is kept on disk.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from flashgen.driver import Lowered, emit_source, lower_spec
from flashgen.plan.plan import Plan
from flashgen.plan.search import Candidate, candidates, make_plan
from flashgen.plan.verdict import Verdict, compiled, job
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import Target

#: What is compiled: the forward and the backward of a spec.
SCHEDULES = ("flash2", "backward")


@dataclass(frozen=True)
class Usage:
    """One candidate: bytes of shared memory a block, registers and spilled bytes a thread.

    ``predicted_*`` are the planner's; ``smem``, ``registers`` and ``spill`` the compiler's, None with
    ``error`` where it gave none.
    """

    target: str
    arch: str
    spec: str
    schedule: str
    kernel: str
    dtype: str
    plan: str
    predicted_smem: int
    smem: int | None
    predicted_registers: int
    registers: int | None
    predicted_spill: int
    spill: int | None
    error: str = ""


@dataclass(frozen=True)
class Work:
    """A candidate that waits for the compiler; ``others`` stand in for the program's other kernels."""

    lowered: Lowered
    schedule: str
    kernel: int
    target: Target
    dtype: str
    candidate: Candidate
    others: tuple[Candidate, ...]

    def plan(self) -> Plan:
        """The plan that the candidate's kernel is printed from."""
        chosen = list(self.others)
        chosen[self.kernel] = self.candidate
        program = self.lowered.program
        plan = make_plan(program, self.target, self.dtype, [self.candidate] * len(chosen), None)
        return replace(plan, kernels=tuple(c.plan for c in chosen))


def work(
    specs: Sequence[AttentionSpec],
    targets: Sequence[Target],
    schedules: Sequence[str] = SCHEDULES,
    sample: int = 0,
    dtype: str | None = None,
) -> Iterator[Work]:
    """The candidates that the planner keeps, or ``sample`` of each kernel's (0: all).

    A sample is drawn evenly from the candidates of a kernel and is the same in every run. ``dtype``: the
    spec's first that the target has where nothing is said; pairs without kernels of it are left out.
    """
    for spec in specs:
        for schedule in schedules:
            lowered = lower_spec(spec, schedule)
            for target in targets:
                able = [d for d in spec.dtypes if target.supports(d) and dtype in (None, d)]
                if able:
                    yield from _of(lowered, schedule, target, able[0], sample)


def _of(lowered: Lowered, schedule: str, target: Target, dtype: str, sample: int) -> Iterator[Work]:
    program = lowered.program
    found = [candidates(program, i, target, dtype) for i in range(len(program.kernels))]
    for i, of_kernel in enumerate(found):
        kept = [c for c in of_kernel if not c.rejected]
        if sample and sample < len(kept):
            kept = random.Random(f"{program.kernels[i].name} {target.name} {dtype}").sample(kept, sample)
        for c in kept:
            yield Work(lowered, schedule, i, target, dtype, c, tuple(f[0] for f in found))


def measure(
    waiting: Sequence[Work],
    jobs: int,
    until: float = float("inf"),
    tell: Callable[[int], object] = lambda done: None,
) -> list[Usage]:
    """Compile ``waiting``, ``jobs`` at a time, none after the monotonic time ``until``.

    What is not reached in time is left out; the order is shuffled, so that what is reached is an even
    sample. ``tell`` hears how many are done.
    """
    order = random.Random(0).sample(list(waiting), len(waiting))
    printing = threading.Lock()  # Python 3.11 parses in one thread at a time
    done: list[Usage] = []

    def one(w: Work) -> None:
        if time.monotonic() > until:
            return
        with printing:
            plan = w.plan()
            text = job(w.lowered.program, emit_source(w.lowered, plan), w.kernel, plan, w.target)
        verdict = compiled(text)
        done.append(_usage(w, verdict))
        tell(len(done))

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(one, w) for w in order]:
            future.result()
    return sorted(done, key=lambda u: (u.target, u.spec, u.schedule, u.kernel, u.plan))


def _usage(w: Work, verdict: Verdict) -> Usage:
    c, measured = w.candidate, verdict.measured
    return Usage(
        target=w.target.name,
        arch=w.target.arch,
        spec=w.lowered.spec.name,
        schedule=w.schedule,
        kernel=w.lowered.program.kernels[w.kernel].name,
        dtype=w.dtype,
        plan=str(c.plan),
        predicted_smem=c.smem_bytes,
        smem=measured.smem_bytes if measured else None,
        predicted_registers=c.registers,
        registers=measured.registers if measured else None,
        predicted_spill=c.spill_bytes,
        spill=measured.spill_bytes if measured else None,
        error=verdict.error,
    )
