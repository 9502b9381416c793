"""Plans are proved before they are used: candidates are compiled for the target, without that GPU.

The compiler's shared memory, registers and spills replace the predictions, and times are predicted anew
from them. A candidate it refuses, or that does not fit, sends the search to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.size import show_size
from flashgen.targets.target import Target

from .plan import MAX_SPILL_BYTES, KernelPlan, Plan
from .resources import tiling
from .search import Candidate, best_of, candidates, check_dtype, choose, make_plan
from .shared_values import shared_values
from .steer import Passed, Room, Steering, room
from .verdict import Module, Verdict, compiled, job

#: Candidates that the compiler passes before the best of them is taken, where it refuses none.
TRIES = 12
#: Bytes of spills a thread that are taken, and said, where no tiling does with fewer: slow, but no dead end.
LAST_RESORT_BYTES = 4 * MAX_SPILL_BYTES
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
    c: Candidate, verdict: Verdict, program: Program, kernel: int, target: Target, dtype: str, w: Workload,
    allowed: int = MAX_SPILL_BYTES,
) -> Candidate:  # fmt: skip
    """``c`` with the compiler's numbers: rejected, or with its time predicted from them. ``allowed``: spills
    a thread, bytes."""
    m = verdict.measured
    if m is None:
        return replace(c, cost=None, rejected=f"does not compile: {verdict.error}", refused=True)
    c = replace(c, smem_bytes=m.smem_bytes, registers=m.registers, spill_bytes=m.spill_bytes, measured=m)
    if m.smem_bytes > target.smem_bytes:
        why = f"takes {show_size(m.smem_bytes)} of shared memory, {show_size(target.smem_bytes)} exist"
        return replace(c, cost=None, rejected=why, refused=True)
    if m.spill_bytes > allowed:
        why = f"spills {m.spill_bytes} bytes a thread, {allowed} are allowed"
        return replace(c, cost=None, rejected=why, refused=True)
    t = tiling(facts(program)[kernel], c.plan, dtype, target)
    return replace(c, measured=m, cost=kernel_cost(t, w, m))


def all_candidates(program: Program, target: Target, dtype: str, w: Workload) -> list[list[Candidate]]:
    """The candidates of every kernel, before anything is compiled."""
    return [candidates(program, i, target, dtype, w) for i in range(len(program.kernels))]


def ranking(
    program: Program, kernel: int, target: Target, dtype: str, w: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet, found: Sequence[list[Candidate]] = (),
) -> list[Candidate]:  # fmt: skip
    """The candidates of a kernel, the most promising ones compiled: confirmed by time, then the rest.

    What the compiler refuses corrects what is thought of the others (``steer``). Compiling stops when the
    best confirmed time is below every prediction left of what is thought to fit, after ``tries`` that passed,
    and sooner where some were refused. ``found``: the candidates of every kernel, where they are known.
    """
    f = facts(program)[kernel]
    found = found or all_candidates(program, target, dtype, w)
    waiting = found[kernel]
    rejected = [c for c in waiting if c.rejected]
    waiting = [c for c in waiting if not c.rejected]
    others = [c[0].plan for c in found]  # those that are not compiled only have to be printable
    search = Steering(shared_values(f.kernel))
    confirmed: list[Candidate] = []
    refused: list[Candidate] = []
    spilled: list[tuple[Candidate, Verdict]] = []
    passed: list[Passed] = []

    @cache
    def room_of(plan: KernelPlan) -> Room:
        return room(f, plan, dtype, target)

    while len(confirmed) < tries and (most := search.most(bool(confirmed))) > 0:
        best = min(passed, default=Passed(math.inf, math.inf, 0))
        better = [c for c in waiting if c.cost and search.worthwhile(room_of(c.plan), c.cost.us, best)]
        batch = search.next_ones(better, lambda c: room_of(c.plan), min(workers, most), bool(confirmed))
        if not batch:
            break
        waiting = [c for c in waiting if c not in batch]
        tell(_progress(f.kernel.name, batch, len(confirmed), refused, most if search.doubted else 0))
        plans = []
        for c in batch:
            plan = make_plan(program, target, dtype, [c] * len(program.kernels), w)
            plans.append(replace(plan, kernels=(*others[:kernel], c.plan, *others[kernel + 1 :])))
        for first, v in zip(batch, verdicts(program, plans, kernel, target, emit, workers), strict=True):
            c = judged(first, v, program, kernel, target, dtype, w)
            (refused if c.rejected else confirmed).append(c)
            if c.rejected and v.measured:
                spilled.append((first, v))
            search.learn(room_of(c.plan), v.measured, refused=bool(c.rejected))
            if c.cost and first.cost:
                passed.append(Passed(c.cost.us, first.cost.us, c.spill_bytes))
    if not confirmed and spilled:  # nothing fits: the one that spills least, if it is no great deal
        first, v = min(spilled, key=lambda x: x[1].measured.spill_bytes if x[1].measured else math.inf)
        last = judged(first, v, program, kernel, target, dtype, w, LAST_RESORT_BYTES)
        confirmed = [] if last.rejected else [last]
        refused = [c for c in refused if c.plan not in {x.plan for x in confirmed}]
    confirmed.sort(key=lambda c: c.cost.us if c.cost else 0.0)
    return confirmed + waiting + refused + rejected


def _progress(
    kernel: str, batch: Sequence[Candidate], passed: int, refused: Sequence[Candidate], most: int
) -> str:
    """Which candidates are being compiled, of how many at most where that is known (``most`` > 0)."""
    first = passed + len(refused) + 1
    numbers = f"{first}" if len(batch) == 1 else f"{first} to {first + len(batch) - 1}"
    of = f" of at most {first - 1 + most}" if most else ""
    shown = ", ".join(c.plan.short() for c in batch)
    why = f"; the last {refused[-1].rejected}" if refused else ""
    return f"{kernel}, candidate {numbers}{of} ({shown}): {passed} passed, {len(refused)} refused{why}"


def rankings(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> list[list[Candidate]]:  # fmt: skip
    """``ranking`` of every kernel. Raises ``PlanError`` as ``choose`` does, before anything is compiled."""
    check_dtype(target, dtype)
    kernels = range(len(program.kernels))
    found = all_candidates(program, target, dtype, workload)
    if any(c[0].rejected for c in found):
        choose(program, target, dtype, workload)  # says why
    return [ranking(program, i, target, dtype, workload, emit, tries, workers, tell, found) for i in kernels]


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
