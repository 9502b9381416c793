"""Many candidates compiled at once, in processes of their own, into Triton's cache on disk.

Some combinations abort the compiler: a process that dies takes its candidate with it, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from flashgen.backends.triton.specialise import Kind
from flashgen.errors import CannotRun
from flashgen.plan.plan import Plan

#: Most processes: each holds an interpreter with torch and Triton.
MOST = 32


@dataclass(frozen=True)
class Job:
    """Kernel number ``kernel`` of ``plan``, for tensors of these kinds on a Triton target."""

    spec: str
    plan: Plan
    kernel: int
    kinds: tuple[tuple[str, Kind], ...]
    gpu: tuple[str, int | str, int]


def compile_all(
    jobs: Sequence[Job], workers: int | None = None, tell: Callable[[int], object] = lambda done: None
) -> list[str]:
    """Compile every job; for each why it failed, or nothing. ``tell`` hears how many are done."""
    workers = min(workers or os.cpu_count() or 2, MOST, max(len(jobs), 1))
    failed = [""] * len(jobs)
    waiting = list(range(len(jobs)))
    done = 0
    while waiting:
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        started: dict[int, Future[str]] = {i: pool.submit(_compile, jobs[i]) for i in waiting}
        died = False
        for i, future in started.items():
            try:
                failed[i] = future.result()
            except BrokenProcessPool:
                died = True
                break
            waiting.remove(i)
            done += 1
            tell(done)
        pool.shutdown(wait=True, cancel_futures=True)
        if died:  # whoever it was, it is among the first: one process tries these again, one at a time
            culprit = _alone(jobs, waiting[: 2 * workers], failed)
            done += culprit
            waiting = waiting[culprit:]
            tell(done)
    return failed


def _alone(jobs: Sequence[Job], numbers: Sequence[int], failed: list[str]) -> int:
    """Compile ``numbers`` one after another up to the one that kills its process; how many are settled."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    for settled, i in enumerate(numbers):
        try:
            failed[i] = pool.submit(_compile, jobs[i]).result()
        except BrokenProcessPool:
            failed[i] = "the compiler ended its process"
            return settled + 1
    pool.shutdown()
    return len(numbers)


def _compile(job: Job) -> str:
    from triton.backends.compiler import GPUTarget

    from flashgen.runtime.launch import build
    from flashgen.runtime.source import generated

    try:
        record = generated(job.spec, job.plan)
        build(record, record.kernels[job.kernel], dict(job.kinds), GPUTarget(*job.gpu))
    except CannotRun:
        raise
    except Exception as e:  # whatever else the compiler raises refutes the candidate
        return f"{type(e).__name__}: {e}".splitlines()[0][:200]
    return ""
