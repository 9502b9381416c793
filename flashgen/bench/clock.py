"""Clocks: GPU time by events or by CUDA graphs, host time by the process clock; and the memory of a call.

Clock and power move a GPU's speed by 20%, so contenders are timed in alternating rounds, each round in
another order, and the median over the rounds is reported. Only ratios within one run count.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Run = Callable[[], object]

#: GPU cycles to wait before a round, so that the host is ahead of the GPU (about 1 ms at 2 GHz).
HEAD_START_CYCLES = 2_000_000
#: Calls in one CUDA graph: enough that the replay's own launch does not show.
GRAPH_CALLS = 20


def rounds(contenders: Mapping[str, Run], count: int, device: str, warmup: int = 2) -> dict[str, float]:
    """Median time of one call of each contender, in milliseconds, over ``count`` alternating rounds."""
    for run in contenders.values():
        for _ in range(warmup):
            run()
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(count):
        turn = number % len(names)
        order = names[turn:] + names[:turn]
        for name, ms in _round({name: contenders[name] for name in order}, device).items():
            taken[name].append(ms)
    return {name: statistics.median(times) for name, times in taken.items()}


def _round(contenders: Mapping[str, Run], device: str) -> dict[str, float]:
    if device == "cpu":
        return {name: 1e3 * _seconds(run) for name, run in contenders.items()}
    torch.cuda.synchronize()
    torch.cuda._sleep(HEAD_START_CYCLES)  # type: ignore[no-untyped-call]
    events = {}
    for name, run in contenders.items():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
        events[name] = (start, end)
    torch.cuda.synchronize()
    return {name: start.elapsed_time(end) for name, (start, end) in events.items()}


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def graphed(run: Run, calls: int = GRAPH_CALLS) -> Run:
    """A replay of ``calls`` captured calls of ``run``."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture needs allocations and autotuning done, off the default stream
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    return graph.replay


def host_us(run: Run, device: str, calls: int = 200, repeats: int = 9) -> float:
    """Host time of one call in microseconds: the median of ``repeats`` batches, the GPU not waited for."""
    for _ in range(3):
        run()
    batches = []
    for _ in range(repeats):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        batches.append((time.perf_counter() - start) / calls * 1e6)
    if device != "cpu":
        torch.cuda.synchronize()
    return statistics.median(batches)


def peak_bytes(run: Run, before: int | None = None) -> int:
    """The most GPU memory taken while ``run`` runs, beyond ``before``: by default what is taken when it
    starts, which leaves its results, saved tensors and scratch."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated() if before is None else before
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - start
