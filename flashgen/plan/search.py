"""The search: every tiling a program allows on a target, rejected with a reason or ranked by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from flashgen.errors import PlanError
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.program import Program
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.model.cost import Cost, kernel_cost
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.size import show_size
from flashgen.targets.target import Target, load_target

from .order import best_order
from .plan import MAX_SPILL_BYTES, KernelPlan, Measured, Order, Plan
from .refusal import no_plan, smallest
from .resources import (
    Tiling,
    blocks_per_sm,
    register_parts,
    registers,
    spilled,
    tiling,
)
from .smem import smem_bytes

ROW_SIDES = (16, 32, 64, 128, 256)
COLUMN_SIDES = (16, 32, 64, 128, 256)
WARPS = (1, 2, 4, 8)
STAGES = (1, 2, 3, 4)
#: One that may spill too much is bettered as well if it is among so many of the most promising, as where head
#: dims are so large that few tilings do without spills.
DOUBTED = 40
#: Registers a thread must keep beside its tiles under a stated limit: with fewer, dots wait on one another.
ROOM = 24
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


def sides_of(f: KernelFacts) -> Iterator[dict[str, int]]:
    """Every assignment of numbers to the kernel's sides."""
    choices = [ROW_SIDES if s == f.row_side else COLUMN_SIDES for s in f.sides]
    for numbers in product(*choices):
        yield dict(zip(f.sides, numbers, strict=True))


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
    f = facts(program)[kernel]
    w = workload or LONG
    tried = [judge(f, plan, dtype, target, w) for plan in tilings(f, best_order(f, target, dtype, w))]
    bad = [c for c in tried if c.rejected]
    good = sorted((c for c in tried if not c.rejected), key=promise)
    for refine in REFINEMENTS if described else REFINEMENTS[1:]:
        worth = [c for i, c in enumerate(good) if i < DOUBTED or c.spill_bytes <= MAX_SPILL_BYTES]
        plans = [plan for c in worth for plan in refine(f, c, dtype, target)]
        more = [judge(f, plan, dtype, target, w) for plan in plans]
        good = sorted(good + [c for c in more if not c.rejected], key=promise)
    return good + bad


def tilings(f: KernelFacts, order: Order) -> Iterator[KernelPlan]:
    """Every assignment of sides, warps and stages, sensible or not."""
    for sides in sides_of(f):
        for warps, stages in product(WARPS, STAGES):
            yield KernelPlan(tuple(sides.items()), warps, stages, order)


def by_descriptor(f: KernelFacts, c: Candidate, dtype: str, target: Target) -> list[KernelPlan]:
    """The same tiles read by tensor descriptors, where the target has them and loads overlap with dots."""
    t = tiling(f, c.plan, dtype, target)
    if (
        not target.descriptors
        or c.plan.num_stages < 2
        or not any(t.wgmma(d) for x in f.loops for d in x.dots)
    ):
        return []
    return [replace(c.plan, loads="descriptor")]


def with_room(f: KernelFacts, c: Candidate, dtype: str, target: Target) -> list[KernelPlan]:
    """The same tiles with as few registers a thread as let one more block share an SM."""
    t = tiling(f, c.plan, dtype, target)
    now, limit = blocks_per_sm(t, c.smem_bytes, c.registers)
    if limit != "registers" or not target.register_caps:
        return []
    cap = target.integer("registers_per_sm") // (t.threads * (now + 1)) // 8 * 8
    limited = replace(t, max_registers=cap)
    parts = register_parts(limited)
    if parts["tiles"] + ROOM > cap or spilled(limited, sum(parts.values())):
        return []
    return [replace(c.plan, max_registers=cap)]


#: Ways to better a tiling, in the order in which they are tried, each on what the ones before it found too.
REFINEMENTS = (by_descriptor, with_room)


def promise(c: Candidate) -> tuple[bool, float, float, int, int]:
    """Best first; those the compiler may well refuse after the others. Of those that wait for DRAM equally
    long, the one with the least other work."""
    us, busy = (c.cost.us, c.cost.compute_us) if c.cost else (0.0, 0.0)
    return c.spill_bytes > MAX_SPILL_BYTES, us, busy, c.smem_bytes, c.plan.num_warps


def judge(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target, w: Workload) -> Candidate:
    """``plan`` with its predicted sizes and time, or with the reason that rules it out."""
    t = tiling(f, plan, dtype, target)
    smem = smem_bytes(t)
    limit = t.target.smem_bytes
    why = _misfit(t)
    regs = 0.0 if why else registers(t)
    spill = spilled(t, regs)
    if spill > MAX_SPILL_BYTES + SPILL_DOUBT:
        why = f"would spill about {spill} bytes a thread, {MAX_SPILL_BYTES} are allowed"
    too_big = not why and smem > limit
    if too_big:
        why = f"needs {show_size(smem)} of shared memory, {show_size(limit)} exist"
    if why:
        return Candidate(plan, smem, round(regs), spill, None, why, too_big)
    cost = kernel_cost(t, w, Measured(smem, round(regs), spill))
    return Candidate(plan, smem, round(regs), spill, cost)


def _misfit(t: Tiling) -> str:
    """Why a tiling makes no sense whatever it costs."""
    rows = t.count((t.facts.kernel.axes[0].name,))
    dots = [d for loop in t.facts.loops for d in loop.dots]
    if dots and all(t.fma(d) for d in dots):
        if any(t.per_thread(d) < 1 for d in dots):
            return f"{t.threads} threads have less than one result each"
    elif t.warps > max(1, rows // 16):
        return f"{t.warps} warps would share {rows} rows (16 rows a warp and dot)"
    if t.stages > 1 and not t.facts.loops:
        return "no loop to pipeline"
    if t.stages > 1 and not t.target.async_copies:
        return "no asynchronous copies to pipeline"
    return ""


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
    if g.backend == "interpreter":
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
    )
