"""The time model: what a kernel takes on a target, from its facts and the numbers of a plan.

Work a pass of a loop: dots on the matrix units (or as long as their operands take out of shared
memory), elementwise work on the issue slots and the special-function unit, loads from L2. One block
does them one after another; blocks on the same SM fill each other's gaps. Blocks run in waves over the
SMs. Clocks of one SM throughout, microseconds at the end.

The constants below belong to the machine model, not to cases. They were fitted to full and causal attention
on H100 (forward: head dims 32 to 256, lengths 512 to 8,192, 24 cases, 2,098 measured tilings; backward: that
the tilings found fastest there stay the choice) for the choice more than for the time, with the compiler's
registers and spills. On the forward cases the chosen tiling is 1.4% slower than the fastest in the geometric
mean, 8.4% at worst. How other specs fare stands in docs/planner.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from flashgen.expr.nodes import variables

from .dram import dram_bytes
from .facts import Axes, BodyFacts
from .plan import Workload
from .resources import Tiling, blocks_per_sm, registers, spilled
from .smem import smem_bytes
from .trips import extent, trips

#: Clocks of a block that makes so many passes of each loop, when so many blocks share an SM.
Duration: TypeAlias = Callable[[tuple[int, ...], int], float]
#: How much longer one block's elementwise work takes than its issue slots, by warps per scheduler:
#: a warp alone waits for its own results.
ISSUE_STALL = {1: 1.33, 2: 1.05, 4: 1.0}
#: Issuing a dot and waiting for it, clocks.
DOT_CLOCKS = 89.1
#: Where one thread issues the loads, all warps wait for it: clocks a pass, by warps per scheduler.
DESCRIPTOR_PASS_CLOCKS = {1: 80.9, 2: 377.0, 4: 620.0}
#: Share of the clocks in which tiles are written to shared memory that delays the block.
WRITE_SHARE = 0.79
#: Load latencies that one stage of lookahead leaves over.
LATE_LATENCIES = 1.59
#: How well blocks on one SM fill each other's gaps: 1 would be perfectly.
GAPS_FILLED = 0.805
#: Entering a loop: load latencies until its first tile is there, and its pipeline's end.
ENTRY_LATENCIES = 4.75
#: What entering takes more where dots are issued warp by warp: Q goes through shared memory to registers.
WARP_ENTRY_CLOCKS = 718.0
#: A launch with descriptors: they are read before the first load.
DESCRIPTOR_LAUNCH_US = 0.2
#: Starting and ending a block, in load latencies.
BLOCK_LATENCIES = 0.0255
#: Bytes of results an SM writes a clock.
STORED_PER_CLOCK = 11.2
#: Rows of statistics are held by this many threads each (a quad of an accumulator's row).
ROW_COPIES = 4
#: A spilled byte is written and read in a pass, and dots wait for it: in bytes of shared memory's rate.
SPILL_COST = 0.894
#: Dots issued warp by warp reach this share of an asynchronous matrix unit.
WARP_DOT_SHARE = 0.53


@dataclass(frozen=True)
class Pass:
    """Clocks one pass of a loop takes, by cause, for one block alone."""

    matrix: float
    operands: float
    issue: float
    special: float
    writes: float
    fetch: float
    waits: float
    spills: float
    stall: float

    @property
    def dots(self) -> float:
        """Clocks of the dots: the matrix units, or their operands' way out of shared memory."""
        return max(self.matrix, self.operands)

    @property
    def softmax(self) -> float:
        """Clocks of the elementwise work at full rate."""
        return max(self.issue, self.special)

    def clocks(self, blocks: int) -> float:
        """Clocks a pass of each block takes of the SM when ``blocks`` share it."""
        alone = self.dots + self.writes + self.softmax * self.stall + self.waits + self.spills
        busiest = max(self.dots, self.softmax)
        gaps = (alone - busiest) / math.pow(blocks, GAPS_FILLED)
        return max(busiest + gaps, self.fetch)


@dataclass(frozen=True)
class Cost:
    """The predicted time of one kernel at one workload, and what it is made of (microseconds)."""

    us: float
    blocks: int
    per_sm: int
    limit: str
    waves: float
    compute_us: float
    hbm_us: float
    hbm_bytes: int
    l2_bytes: int
    flops: float
    passes: tuple[Pass, ...]
    trips: tuple[float, ...]
    block_clocks: float
    pass_clocks: float

    @property
    def bound(self) -> str:
        """What limits the kernel, in a word or two."""
        if self.hbm_us >= self.compute_us:
            return "DRAM traffic"
        if not self.passes or not any(self.trips):
            return "launch and latency"
        p = self.passes[max(range(len(self.trips)), key=lambda i: self.trips[i])]
        if p.clocks(self.per_sm) <= p.fetch:
            return "L2 traffic"
        causes = {
            "arithmetic of dots": p.matrix,
            "operands of dots": p.operands,
            "issue slots": p.issue * p.stall,
            "exponential unit": p.special * p.stall,
        }
        return max(causes, key=lambda c: causes[c])


def pass_cost(t: Tiling, body: BodyFacts, spill: int) -> Pass:
    """The clocks of one pass through ``body``."""
    g = t.target
    matrix = operands = 0.0
    asynchronous = all(t.wgmma(d) for d in body.dots)
    for d in body.dots:
        m, n, k = t.count(d.m), t.count(d.n), t.sizes[d.k]
        lanes = t.fma(d)
        rate = g.flops_per_clock("fp32" if lanes else t.dtype, d.precision == "tf32" and not lanes)
        if t.wgmma(d):
            rows = -(-m // 64) * 64
            a = m * k if d.a_loaded else 0
            operands += (a + n * k * rows // 64) * t.item(d.dtype)
        else:
            rows = max(m, 16)
            if lanes:  # every thread reads its rows and columns; 128-bit reads are not broadcast
                operands += t.threads * 2 * math.sqrt(t.per_thread(d)) * k * t.item(d.dtype)
                matrix += 2 * m * n * k / rate
                continue
            if g.matrix in ("wgmma", "tcgen05") and t.item(d.dtype) == 2:
                rate *= WARP_DOT_SHARE
            operands += (m * k + n * k * min(t.warps, -(-m // 16))) * t.item(d.dtype)
        matrix += 2 * rows * n * k / rate
    bandwidth = g.number("smem_bytes_per_clock")
    fetched = sum(t.bytes_of(x) for x in body.loads)
    per_clock = g.number("l2_rate") / g.number("sms") / g.number("clock")
    latency = g.number("latency") * 1e3 * g.number("clock")
    fetch = fetched / per_clock
    waits = 0.0
    if body.loads and t.stages == 1:
        waits = 2 * latency + fetch
    elif body.loads and (t.stages == 2 or not asynchronous):  # else loads are far enough ahead
        waits = LATE_LATENCIES * latency
    return Pass(
        matrix=matrix,
        operands=operands / bandwidth,
        issue=_elements(t, body.slots) / g.number("vector_per_clock"),
        special=_elements(t, body.special) / g.number("exp_per_clock"),
        writes=0.0 if t.described else WRITE_SHARE * fetched / bandwidth,
        fetch=fetch,
        waits=waits + DOT_CLOCKS * len(body.dots) + _descriptor_wait(t),
        spills=SPILL_COST * spill * t.threads / bandwidth,
        stall=_stall(max(1, t.threads // 128)),
    )


def _descriptor_wait(t: Tiling) -> float:
    if not t.described:
        return 0.0
    warps = max(1, t.threads // 128)
    return DESCRIPTOR_PASS_CLOCKS[max(w for w in DESCRIPTOR_PASS_CLOCKS if w <= warps)]


def _stall(warps: int) -> float:
    return ISSUE_STALL[max(w for w in ISSUE_STALL if w <= warps)]


def _elements(t: Tiling, table: Mapping[Axes, float]) -> float:
    return sum(n * t.count(a) * (ROW_COPIES if len(a) == 1 else 1) for a, n in table.items() if a)


def kernel_cost(
    t: Tiling, w: Workload, smem: int | None = None, regs: int | None = None, spill: int | None = None
) -> Cost:
    """The predicted time of ``t`` at ``w``; compiled numbers replace predicted ones where given."""
    g, f = t.target, t.facts
    smem = smem_bytes(t) if smem is None else smem
    wanted = registers(t) if regs is None or spill is None else 0.0
    regs = round(wanted) if regs is None else regs
    spill = spilled(t, wanted) if spill is None else spill
    per_sm, limit = blocks_per_sm(t, smem, regs)
    per_sm = max(per_sm, 1)
    sides = {s: t.sizes[_axis_of(t, s)] for s in f.sides}
    blocks = 1
    for axis in f.kernel.grid:
        blocks *= extent(axis.extent, w, sides)
    counts = trips(f, w, tuple(sides.items())) if blocks else []
    passes = tuple(pass_cost(t, loop, spill) for loop in f.loops)
    edge = pass_cost(t, f.body, 0)
    clock = g.number("clock") * 1e3  # clocks a microsecond
    latency = g.number("latency") * clock
    stored = t.stored_bytes(f.body) / STORED_PER_CLOCK
    once = edge.dots + edge.softmax + edge.fetch + stored + BLOCK_LATENCIES * latency

    def duration(count: tuple[int, ...], share: int) -> float:
        if share not in rates:
            rates[share] = [share * p.clocks(share) for p in passes]
        per_pass = rates[share]
        return once + sum(enter + n * one for n, one in zip(count, per_pass, strict=True) if n)

    enter = ENTRY_LATENCIES * latency
    if not all(t.wgmma(d) for loop in f.loops for d in loop.dots):
        enter += WARP_ENTRY_CLOCKS
    rates: dict[int, list[float]] = {}
    slots = g.integer("sms") * per_sm
    clocks = _makespan(blocks, slots, per_sm, counts, duration) if blocks else 0.0
    mean = [sum(c[i] for c in counts) / max(len(counts), 1) for i in range(len(passes))]
    work = list(zip((1.0, *mean), (f.body, *f.loops), strict=True))
    l2 = blocks * sum(n * sum(t.bytes_of(x) for x in body.loads) for n, body in work)
    hbm = dram_bytes(t, w, blocks, slots, mean, sides)
    compute_us, hbm_us = clocks / clock, hbm / (g.number("hbm_rate") * g.number("hbm_sustained") * 1e3)
    flops = blocks * sum(
        n * sum(2 * t.count(d.m) * t.count(d.n) * t.sizes[d.k] for d in body.dots) for n, body in work
    )
    tf32 = any(d.precision == "tf32" for loop in f.loops for d in loop.dots)
    peak = t.target.number("sustained") * g.flops_per_clock(t.dtype, tf32) * g.number("sms") * clock
    # Blocks without a loop overlap wholly: what bounds them is the rates of the chip.
    compute_us = max(compute_us, flops / peak, l2 / (g.number("l2_rate") * 1e3))
    start = g.number("launch") + (DESCRIPTOR_LAUNCH_US if t.described else 0.0)
    return Cost(
        us=start + max(compute_us, hbm_us), blocks=blocks, per_sm=per_sm, limit=limit,
        waves=blocks / slots, compute_us=compute_us, hbm_us=hbm_us, hbm_bytes=round(hbm), l2_bytes=round(l2),
        flops=flops, passes=passes, trips=tuple(mean), block_clocks=once,
        pass_clocks=max((per_sm * p.clocks(per_sm) for p in passes), default=0.0),
    )  # fmt: skip


def _axis_of(t: Tiling, name: str) -> str:
    return next(a for a, size in t.facts.sizes.items() if name in variables(size))


def _makespan(
    blocks: int, slots: int, per_sm: int, counts: list[tuple[int, ...]], duration: Duration
) -> float:
    """Clocks until the last block ends: whole waves, then a rest that shares SMs with fewer others.

    Blocks of different lengths run longest first, so that the end is ragged by half a short one.
    """
    full = [duration(c, per_sm) for c in counts]
    mean, longest, shortest = sum(full) / len(full), max(full), min(full)
    waves, rest = divmod(blocks, slots)
    sms = slots // per_sm
    if longest > 1.1 * shortest:
        if not waves:
            share = -(-blocks // sms)
            return float(max(duration(c, share) for c in counts))
        return float(max(blocks / slots * mean + shortest / 2, longest))
    tail = max(duration(c, -(-rest // sms)) for c in counts) if rest else 0.0
    return float(waves * mean + tail)
