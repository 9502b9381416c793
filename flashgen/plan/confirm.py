"""Plans are proved before they are used: candidates are compiled for the target, without that GPU.

The compiler's shared memory, registers and spills replace the predictions, and times are predicted anew
from them, on Hopper with the clocks that its loops take by their instructions. A candidate it refuses, or
that does not fit, sends the search to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from flashgen.ir.program import Program

from .cost import kernel_cost
from .facts import facts
from .loop_clocks import simulated
from .plan import MAX_SPILL_BYTES, Plan, Workload
from .resources import tiling
from .search import Candidate, best_of, candidates, check_dtype, choose, make_plan
from .size import show_size
from .target import Target
from .verdict import Module, Verdict, compiled, job

#: Candidates that the compiler passes before the best of them is taken, and that it may refuse before the
#: search ends: each costs seconds, and where so many of the most promising fail the others do too.
TRIES = 12
REFUSALS = 16
#: Prints the module of a plan; the emitter is a later level, so it is handed in.
Emit = Callable[[Plan], Module]
#: Is told in a line how far it is.
Tell = Callable[[str], object]


def _quiet(line: str) -> None:
    """Tell nobody."""


def verdicts(
    program: Program, plans: Sequence[Plan], kernel: int, target: Target, emit: Emit, workers: int = 2
) -> list[Verdict]:
    """The verdicts on kernel number ``kernel`` of each plan, compiled side by side."""
    jobs = [job(program, emit(p), kernel, p, target) for p in plans]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compiled, jobs))


def judged(
    c: Candidate, verdict: Verdict, program: Program, kernel: int, target: Target, dtype: str, w: Workload
) -> Candidate:
    """``c`` with the compiler's numbers: rejected, or with its time predicted from them."""
    m = verdict.measured
    if m is None:
        return replace(c, cost=None, rejected=f"does not compile: {verdict.error}", refused=True)
    c = replace(c, smem_bytes=m.smem_bytes, registers=m.registers, spill_bytes=m.spill_bytes, measured=m)
    if m.smem_bytes > target.smem_bytes:
        why = f"takes {show_size(m.smem_bytes)} of shared memory, {show_size(target.smem_bytes)} exist"
        return replace(c, cost=None, rejected=why, refused=True)
    if m.spill_bytes > MAX_SPILL_BYTES:
        why = f"spills {m.spill_bytes} bytes a thread, {MAX_SPILL_BYTES} are allowed"
        return replace(c, cost=None, rejected=why, refused=True)
    t = tiling(facts(program)[kernel], c.plan, dtype, target)
    m = simulated(t, m, verdict.loops)
    return replace(c, measured=m, cost=kernel_cost(t, w, m))


def ranking(
    program: Program, kernel: int, target: Target, dtype: str, w: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> list[Candidate]:  # fmt: skip
    """The candidates of a kernel, the most promising ones compiled: confirmed by time, then the rest.

    Compiling stops when the best confirmed time is below every prediction left, after ``tries`` that
    passed, or after ``REFUSALS``.
    """
    waiting = candidates(program, kernel, target, dtype, w)
    rejected = [c for c in waiting if c.rejected]
    waiting = [c for c in waiting if not c.rejected]
    others = [c.plan for c in _placeholders(program, target, dtype, w, kernel)]
    confirmed: list[Candidate] = []
    refused: list[Candidate] = []
    while waiting and len(confirmed) < tries and len(refused) < REFUSALS:
        best = min((c.cost.us for c in confirmed if c.cost), default=float("inf"))
        batch = [c for c in waiting[:workers] if c.cost and c.cost.us < best]
        if not batch:
            break
        waiting = waiting[len(batch) :]
        tell(_progress(len(confirmed), refused))
        plans = []
        for c in batch:
            plan = make_plan(program, target, dtype, [c] * len(program.kernels), w)
            plans.append(replace(plan, kernels=(*others[:kernel], c.plan, *others[kernel + 1 :])))
        for c, v in zip(batch, verdicts(program, plans, kernel, target, emit, workers), strict=True):
            c = judged(c, v, program, kernel, target, dtype, w)
            (refused if c.rejected else confirmed).append(c)
    confirmed.sort(key=lambda c: c.cost.us if c.cost else 0.0)
    return confirmed + waiting + refused + rejected


def _progress(passed: int, refused: Sequence[Candidate]) -> str:
    why = f": the last {refused[-1].rejected}" if refused else ""
    return f"{passed} passed, {len(refused)} refused{why}"


def _placeholders(program: Program, target: Target, dtype: str, w: Workload, kernel: int) -> list[Candidate]:
    """Any candidate for every kernel: those that are not compiled only have to be printable."""
    return [candidates(program, i, target, dtype, w)[0] for i in range(len(program.kernels))]


def rankings(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> list[list[Candidate]]:  # fmt: skip
    """``ranking`` of every kernel. Raises ``PlanError`` as ``choose`` does, before anything is compiled."""
    check_dtype(target, dtype)
    kernels = range(len(program.kernels))
    if any(c[0].rejected for c in (candidates(program, i, target, dtype, workload) for i in kernels)):
        choose(program, target, dtype, workload)  # says why
    return [ranking(program, i, target, dtype, workload, emit, tries, workers, tell) for i in kernels]


def confirmed(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> Plan:  # fmt: skip
    """The plan with the least time predicted from what the compiler made of it.

    Raises ``PlanError`` as ``choose`` does, or when the compiler refused every candidate that was tried,
    with its reasons.
    """
    found = rankings(program, target, dtype, workload, emit, tries, workers, tell)
    return proved(program, target, dtype, workload, found)


def proved(
    program: Program, target: Target, dtype: str, workload: Workload, found: Sequence[list[Candidate]]
) -> Plan:
    """The plan of the best of each kernel's ``ranking``. Raises ``PlanError`` where none was passed."""
    best = [best_of(ranked, target, program) for ranked in found]
    plan = make_plan(program, target, dtype, best, workload)
    return replace(plan, compiled=tuple(c.measured for c in best if c.measured is not None))
