"""The time model: what a kernel takes on a target, from its facts and the numbers of a plan.

A block enters its loops and makes its passes (``passes``); blocks run in waves over the SMs, and beside them
goes what DRAM has to deliver (``dram``). Clocks of one SM throughout, microseconds at the end.

The constants here and in ``passes`` belong to the machine model, not to cases. They were fitted to full
and causal attention on H100, with the compiler's registers and spills: 2,098 tilings of 24 forward cases
(head dims 32 to 256, lengths 512 to 8,192) and those of 12 backward cases (head dims 64 to 256). What is
least is how predictions of a case's fast tilings differ from each other more than their times do. On the
forward cases the chosen tiling is 1.4% slower than the fastest in the geometric mean, 5.7% at worst. How
other specs fare stands in docs/measurements.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flashgen.expr.nodes import variables
from flashgen.ir.workload import Workload
from flashgen.plan.backend import backend_of
from flashgen.plan.plan import Measured

from .dram import dram_bytes
from .passes import Pass, norm, pass_cost
from .tiling import Tiling, blocks_per_sm
from .trips import extent, trips

#: Clocks of a block that makes so many passes of each loop, when so many blocks share an SM.
Duration: TypeAlias = Callable[[tuple[int, ...], int], float]
#: Compute and DRAM traffic overlap: the time is their norm of this order.
OVERLAP = 1.73
#: Entering a loop: load latencies until its first tile is there, and its pipeline's end.
ENTRY_LATENCIES = 4.02
#: A launch with descriptors: they are read before the first load.
DESCRIPTOR_LAUNCH_US = 0.2
#: Starting and ending a block, in load latencies.
BLOCK_LATENCIES = 0.104


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
    rows: tuple[float, ...]  # clocks of a block for each sampled row tile, when as many share an SM as can

    @property
    def bound(self) -> str:
        """What limits the kernel, in a word or two."""
        if self.hbm_us >= self.compute_us:
            return "DRAM traffic"
        if not self.passes or not any(self.trips):
            return "launch and latency"
        p = self.passes[max(range(len(self.trips)), key=lambda i: self.trips[i])]
        causes = {
            "arithmetic of dots": p.matrix,
            "operands of dots": p.operands,
            "issue slots": p.issue * p.stall,
            "exponential unit": p.special * p.stall,
            "L2 traffic": p.fetch,
            "waits that no other work fills": p.clocks(self.per_sm) - p.busy(self.per_sm),
        }
        return max(causes, key=lambda c: causes[c])


def kernel_cost(t: Tiling, w: Workload, compiled: Measured | None = None) -> Cost:
    """The predicted time of ``t`` at ``w``; ``compiled`` replaces what is predicted of the compiler."""
    g, f = t.target, t.facts
    if compiled is None:
        compiled = backend_of(t.target).sizes(t).measured
    per_sm, limit = blocks_per_sm(t, compiled.smem_bytes, compiled.registers)
    per_sm = max(per_sm, 1)
    sides = {s: t.sizes[_axis_of(t, s)] for s in f.sides}
    blocks = 1
    for axis in f.kernel.grid:
        blocks *= extent(axis.extent, w, sides)
    counts = trips(f, w, tuple(sides.items())) if blocks else []
    fetched = backend_of(g).fetched
    passes = tuple(pass_cost(t, loop, compiled.spill_bytes) for loop in f.loops)
    edge = pass_cost(t, f.body, 0)
    clock = g.number("clock") * 1e3  # clocks a microsecond
    latency = g.number("latency") * clock
    once = edge.dots + edge.softmax + edge.fetch + BLOCK_LATENCIES * latency

    def clocks_of(i: int, share: int) -> tuple[float, float]:
        """Clocks of entering loop ``i`` and of a pass."""
        p = passes[i]
        one = share * p.clocks(share)
        if f.loops[i].loops:  # waits for nothing itself
            return 0.0, one
        return enter + share * (p.clocks(share, first=True) - p.clocks(share)), one

    def duration(count: tuple[int, ...], share: int) -> float:
        if share not in rates:
            rates[share] = [clocks_of(i, share) for i in range(len(passes))]
        clocks = once
        for n, outer, (entering, one) in zip(count, f.outer, rates[share], strict=True):
            clocks += n * one + min(n, 1 if outer is None else count[outer]) * entering
        return clocks

    enter = ENTRY_LATENCIES * latency
    rates: dict[int, list[tuple[float, float]]] = {}
    slots = g.integer("sms") * per_sm
    clocks = _makespan(blocks, slots, per_sm, counts, duration) if blocks else 0.0
    mean = [sum(c[i] for c in counts) / max(len(counts), 1) for i in range(len(passes))]
    work = list(zip((1.0, *mean), (f.body, *f.loops), strict=True))
    l2 = blocks * sum(n * sum(fetched(t, x) for x in body.loads) for n, body in work)
    hbm = dram_bytes(t, w, blocks, slots, mean, sides)
    compute_us, hbm_us = clocks / clock, hbm / (g.number("hbm_rate") * g.number("hbm_sustained") * 1e3)
    flops = blocks * sum(n * sum(t.flops(d) for d in body.dots) for n, body in work)
    tf32 = any(d.precision == "tf32" for loop in f.loops for d in loop.dots)
    peak = t.target.number("sustained") * g.flops_per_clock(t.dtype, tf32) * g.number("sms") * clock
    # Blocks without a loop overlap wholly: what bounds them is the rates of the chip.
    compute_us = max(compute_us, flops / peak, l2 / (g.number("l2_rate") * 1e3))
    start = g.number("launch") + (DESCRIPTOR_LAUNCH_US if t.described else 0.0)
    return Cost(
        us=start + overlapped(compute_us, hbm_us), blocks=blocks, per_sm=per_sm, limit=limit,
        waves=blocks / slots, compute_us=compute_us, hbm_us=hbm_us, hbm_bytes=round(hbm), l2_bytes=round(l2),
        flops=flops, passes=passes, trips=tuple(mean), block_clocks=once,
        pass_clocks=max((c for _, c in rates.get(per_sm, [])), default=0.0),
        rows=tuple(duration(c, per_sm) for c in counts),
    )  # fmt: skip


def overlapped(compute: float, dram: float) -> float:
    """The time of work and traffic that go on at once and hold each other up a little."""
    return norm(compute, dram, OVERLAP)


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
