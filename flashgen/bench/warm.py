"""Compiles the kernels of many cases at once, in processes of their own, into the caches on disk. Compiling
flex takes seconds a case and one core of many; nothing is timed meanwhile.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch

from .cases import Case
from .suites import Session

#: Each process takes about 1 GiB of a GPU, that of a mask by head some GiB more.
MOST = 8


def warm(cases: list[Case], session: Session) -> None:
    """Compile what ``cases`` need; a failure shows again, and is reported, where the case is measured."""
    workers = min(MOST, len(cases), (os.cpu_count() or 2) // 2)
    if session.device == "cpu" or workers < 2:
        return
    session.say(f"compiling {len(cases)} cases in {workers} processes")
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        jobs = [pool.submit(_compile, case, session.peers, session.device, session.dtype) for case in cases]
        for job in as_completed(jobs, timeout=max(session.deadline - time.monotonic(), 0.0)):
            if job.exception() is not None:
                session.say(f"    compiling beforehand failed: {str(job.exception())[:200]}")
    except Exception as e:  # a dead or late process only means that compiling comes later
        session.say(f"    compiling beforehand stopped: {type(e).__name__}: {e}")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compile(case: Case, peers: tuple[str, ...], device: str, dtype: torch.dtype) -> None:
    """Run forward and backward of ours and of flex once."""
    from . import contenders, training

    if device != "cpu":
        import torch._inductor.config as config

        config.compile_threads = 1  # many processes already share the cores
    data, dout = training.learnable(case, device, dtype, seed=1)
    runs = [contenders.ours(case.spec, data)]
    if "flex" in case.goals and "flex" in peers:
        flex = contenders.peer("flex", case.spec, data)
        runs += [] if flex is None else [flex]
    with training.keeping_graphs():
        for run in runs:
            training.backward_of(run, case, data, dout)()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
