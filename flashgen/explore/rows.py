"""A kernel's candidates as the page needs them: everything the planner's choice depends on, for any SRAM.

How much shared memory there is changes three things: which candidates fit, how many blocks share an SM, and
so their times; and which of the most promising are bettered (``search.REFINEMENTS``). So each candidate is
kept with its time at every number of blocks, and with what it would be bettered to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flashgen.explain.words import kind_of, pass_clocks
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import Cost, kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.order import best_order
from flashgen.plan.plan import KernelPlan
from flashgen.plan.resources import Tiling, block_limits, tiling
from flashgen.plan.search import REFINEMENTS, Candidate, judge, promise, tilings, with_room
from flashgen.targets.target import Target

from .requests import requested

#: Shared memory without end, so that nothing is ruled out by it.
ENDLESS = 1 << 40


@dataclass(frozen=True)
class Time:
    """The prediction while so many blocks share an SM: microseconds, DRAM bytes, waves, what limits it."""

    us: float
    compute_us: float
    hbm_us: float
    hbm_bytes: int
    waves: float
    bound: str
    pass_clocks: tuple[int, ...]  # of each loop, as those blocks share the SM
    promise: tuple[float, ...]  # what the planner sorts by, least first


@dataclass(frozen=True)
class Better:
    """What the planner makes of a candidate that promises much, if ``needs`` is what limits its blocks."""

    step: int  # which of the planner's refinements, in their order
    row: int
    needs: str


@dataclass(frozen=True)
class Row:
    """One candidate. ``times[n - 1]`` is for n blocks on an SM; none where it is out whatever the SRAM."""

    plan: KernelPlan
    tried: bool  # among the tilings tried at first; the others come of bettering them
    smem_bytes: int
    registers: int
    spill_bytes: int
    limits: Mapping[str, int]  # blocks that an SM could hold by everything but shared memory
    times: tuple[Time, ...]
    flops: float
    requested_bytes: int
    blocks: int
    passes: tuple[tuple[int, ...], ...]  # clocks by ``explain.PASS_CAUSES`` of each loop, one block alone
    better: tuple[Better, ...]
    rejected: str  # whatever the SRAM
    kind: str
    compiled: bool = False

    def time(self, sram: int, target: Target) -> Time | None:
        """The prediction with ``sram`` bytes a block; None where the candidate is out."""
        if not self.times or self.smem_bytes > sram:
            return None
        spare = target.integer("smem_per_sm") - target.smem_bytes
        taken = self.smem_bytes + target.integer("smem_reserved_per_block")
        sharing = (sram + spare) // taken if self.smem_bytes else len(self.times)
        return self.times[max(1, min(sharing, len(self.times))) - 1]


def rows_of(
    program: Program, kernel: int, target: Target, dtype: str, w: Workload, largest: int,
    compiled: Mapping[KernelPlan, Candidate],
) -> list[Row]:  # fmt: skip
    """Every candidate of a kernel, for SRAM of up to ``largest`` bytes a thread block.

    ``compiled``: candidates that the compiler was asked about, by plan; its numbers replace predictions.
    """
    f = facts(program)[kernel]
    endless = target.with_sram(ENDLESS)
    found = [
        (judge(f, plan, dtype, endless, w), True) for plan in tilings(f, best_order(f, target, dtype, w))
    ]
    bettered: list[list[Better]] = [[] for _ in found]
    for step, refine in enumerate(REFINEMENTS):
        for i, (c, _) in enumerate(list(found)):
            for plan in [] if c.rejected else refine(f, c, dtype, endless):
                needs = "registers" if refine is with_room else ""
                bettered[i].append(Better(step, len(found), needs))
                found.append((judge(f, plan, dtype, endless, w), False))
                bettered.append([])

    def asks(plan: KernelPlan, cost: Cost) -> int:
        return requested(program, kernel, plan, cost, w, dtype)

    return [
        _row(compiled.get(c.plan, c), tried, better, tiling(f, c.plan, dtype, target), w, largest, asks)
        for (c, tried), better in zip(found, bettered, strict=True)
    ]


def _row(
    c: Candidate, tried: bool, better: list[Better], t: Tiling, w: Workload, largest: int,
    asks: Callable[[KernelPlan, Cost], int],
) -> Row:  # fmt: skip
    limits = block_limits(t, c.smem_bytes, c.registers)
    del limits["shared memory"]
    costs = [] if c.rejected else _costs(t, c, w, min(limits.values()), largest)
    one = costs[0] if costs else None
    kind = kind_of(c) if c.rejected else ""
    return Row(
        plan=c.plan, tried=tried, smem_bytes=c.smem_bytes, registers=c.registers, spill_bytes=c.spill_bytes,
        limits=limits, times=tuple(_time(cost, c) for cost in costs),
        flops=one.flops if one else 0.0, requested_bytes=asks(c.plan, one) if one else 0,
        blocks=one.blocks if one else 0,
        passes=tuple(tuple(round(x) for x in pass_clocks(p)) for p in one.passes) if one else (),
        better=tuple(better), rejected=c.rejected, kind=kind,
        compiled=c.measured is not None,
    )  # fmt: skip


def _costs(t: Tiling, c: Candidate, w: Workload, most: int, largest: int) -> list[Cost]:
    """The cost at 1, 2, … blocks on an SM: at the least SRAM that lets so many share it."""
    spare = t.target.integer("smem_per_sm") - t.target.smem_bytes
    taken = c.smem_bytes + t.target.integer("smem_reserved_per_block")
    fitting = (largest + spare) // taken if c.smem_bytes else most
    costs = []
    for n in range(1, max(1, min(most, fitting)) + 1):
        sram = max(c.smem_bytes, n * taken - spare, 1)
        at = tiling(t.facts, c.plan, t.dtype, t.target.with_sram(sram))
        costs.append(kernel_cost(at, w, c.sizes))
    return costs


def _time(cost: Cost, of: Candidate) -> Time:
    together = tuple(round(p.clocks(cost.per_sm)) for p in cost.passes)
    order = promise(replace(of, cost=cost))
    return Time(
        cost.us, cost.compute_us, cost.hbm_us, cost.hbm_bytes, cost.waves, cost.bound, together, order
    )
