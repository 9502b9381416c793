"""The search: every tiling a program allows on a target, rejected with a reason or ranked by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flashgen.errors import PlanError
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.program import Program
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.model.cost import Cost, kernel_cost
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.model.tiling import tiling
from flashgen.size import show_size
from flashgen.targets.target import Target, load_target

from .backend import backend_of
from .order import best_order
from .plan import MAX_SPILL_BYTES, KernelPlan, Measured, Plan
from .refusal import no_plan, smallest

#: One that may spill too much is bettered as well if it is among so many of the most promising, as where head
#: dims are so large that few tilings do without spills.
DOUBTED = 40
#: The estimate of spills may be off by this many bytes a thread; only beyond it is a tiling dropped
#: without asking the compiler.
SPILL_DOUBT = 256


@dataclass(frozen=True)
class Candidate:
    """One tiling of one kernel: its predicted cost, or why it is out."""

    plan: KernelPlan
    smem_bytes: int
    registers: int
    spill_bytes: int
    cost: Cost | None
    rejected: str = ""
    too_big: bool = False  # nothing but its shared memory rules it out
    measured: Measured | None = None
    refused: bool = False  # by the compiler

    @property
    def sizes(self) -> Measured:
        """The compiler's numbers, or those predicted of it."""
        return self.measured or Measured(self.smem_bytes, self.registers, self.spill_bytes)


def candidates(
    program: Program,
    kernel: int,
    target: Target,
    dtype: str,
    workload: Workload | None = None,
    described: bool = True,
) -> list[Candidate]:
    """All tilings of kernel number ``kernel``: the possible ones by predicted time, then the rejected.

    ``described``: K and V may be read by tensor descriptors.
    """
    f, backend = facts(program)[kernel], backend_of(target)
    w = workload or LONG
    tried = [judge(f, plan, dtype, target, w) for plan in backend.knobs(f, best_order(f, target, dtype, w))]
    bad = [c for c in tried if c.rejected]
    good = sorted((c for c in tried if not c.rejected), key=promise)
    for refine in backend.refinements(described):
        worth = [c for i, c in enumerate(good) if i < DOUBTED or c.spill_bytes <= MAX_SPILL_BYTES]
        plans = [p for c in worth for p in refine.of(tiling(f, c.plan, dtype, target), c.sizes)]
        more = [judge(f, plan, dtype, target, w) for plan in plans]
        good = sorted(good + [c for c in more if not c.rejected], key=promise)
    return good + bad


def promise(c: Candidate) -> tuple[bool, float, float, int, int]:
    """Best first; those the compiler may well refuse after the others. Of those that wait for DRAM equally
    long, the one with the least other work."""
    us, busy = (c.cost.us, c.cost.compute_us) if c.cost else (0.0, 0.0)
    return c.spill_bytes > MAX_SPILL_BYTES, us, busy, c.smem_bytes, c.plan.num_warps


def judge(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target, w: Workload) -> Candidate:
    """``plan`` with its predicted sizes and time, or with the reason that rules it out."""
    t, backend = tiling(f, plan, dtype, target), backend_of(target)
    limit = target.smem_bytes
    if why := backend.misfit(t):
        return Candidate(plan, backend.smem_bytes(t), 0, 0, None, why)
    m = backend.sizes(t).measured
    if m.spill_bytes > MAX_SPILL_BYTES + SPILL_DOUBT:
        why = f"would spill about {m.spill_bytes} bytes a thread, {MAX_SPILL_BYTES} are allowed"
    too_big = not why and m.smem_bytes > limit
    if too_big:
        why = f"needs {show_size(m.smem_bytes)} of shared memory, {show_size(limit)} exist"
    cost = None if why else kernel_cost(t, w, m)
    return Candidate(plan, m.smem_bytes, m.registers, m.spill_bytes, cost, why, too_big)


def choose(
    program: Program,
    target: str | Target,
    dtype: str = "bf16",
    workload: Workload | None = None,
    sram: int | None = None,
    described: bool = True,
) -> Plan:
    """The plan with the least predicted time; nothing is compiled (``select`` does).

    Raises ``PlanError`` when the target lacks the dtype, or no tile fits its shared memory (the message
    names the smallest size that works).
    """
    g = load_target(target, sram) if isinstance(target, str) else target.with_sram(sram)
    check_dtype(g, dtype)
    if not g.gpu:
        from .interpreter import interpreter_plan

        return interpreter_plan(program, g, dtype, workload)
    found = [candidates(program, i, g, dtype, workload, described) for i in range(len(program.kernels))]
    return make_plan(program, g, dtype, best_of_each(found, g, program), workload)


def check_dtype(target: Target, dtype: str) -> None:
    """Raises ``PlanError`` when kernels of ``dtype`` cannot run on ``target``."""
    if dtype not in ITEM_BYTES:
        raise PlanError(f"unknown dtype {dtype!r}; one of {', '.join(ITEM_BYTES)}")
    if not target.supports(dtype):
        able = [d for d in ITEM_BYTES if target.supports(d)]
        raise PlanError(f"{target.name} has no {dtype} kernels; it has {', '.join(able)}")


def best_of(found: list[Candidate], target: Target, program: Program) -> Candidate:
    """The first candidate that is not rejected, or the error that names what would work.

    Once the compiler has refused some, only one that it passed is proved.
    """
    if found and not found[0].rejected and (found[0].measured or not any(c.refused for c in found)):
        return found[0]
    raise no_plan(found, target, program)


def best_of_each(found: Sequence[list[Candidate]], target: Target, program: Program) -> list[Candidate]:
    """``best_of`` of every kernel. Where the shared memory is too small, the error names what is enough for
    all kernels."""
    stuck = [ranked for ranked in found if ranked[0].rejected]
    if stuck and all(any(c.too_big for c in ranked) for ranked in stuck):
        raise no_plan(max(stuck, key=smallest), target, program)
    return [best_of(ranked, target, program) for ranked in found]


def make_plan(
    program: Program, target: Target, dtype: str, best: list[Candidate], workload: Workload | None
) -> Plan:
    """A ``Plan`` of one candidate for each kernel."""
    return Plan(
        schedule=program.schedule,
        target=target.name,
        dtype=dtype,
        kernels=tuple(c.plan for c in best),
        smem_bytes=max(c.smem_bytes for c in best),
        registers=max(c.registers for c in best),
        predicted_us=round(sum(c.cost.us for c in best if c.cost), 2),
        workload=workload,
        inline_ptx=target.arch.startswith("sm_"),
        backend=target.backend,
    )
