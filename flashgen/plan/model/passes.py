"""The clocks of one pass of a loop, by cause: for one block alone, and where blocks share an SM.

Dots run on the matrix units (or as long as their operands take out of shared memory), elementwise work on
the issue slots and the special-function unit, loads come from L2 and stores go there. One block does them
one after another; blocks on the same SM, and warp groups of a block, fill each other's gaps. Where the
constants come from stands in ``cost``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flashgen.plan.resources import Tiling
from flashgen.plan.sectors import sent

from .facts import Axes, BodyFacts

#: How much longer elementwise work takes than its issue slots where a scheduler has one warp, which waits for
#: its own results; with more it falls with their square.
ISSUE_STALL = 0.1
#: Issuing a dot and waiting for it, clocks.
DOT_CLOCKS = 131.0
#: Where one thread issues the loads, all warps wait for it: clocks a pass, by warps per scheduler.
DESCRIPTOR_PASS_CLOCKS = {1: 72.0, 2: 459.0, 4: 620.0}
#: Clocks in which tiles are written to shared memory delay the block by this share.
WRITE_SHARE = 1.04
#: Load latencies that one stage of lookahead leaves over.
LATE_LATENCIES = 1.47
#: Bytes of results an SM writes a clock.
STORED_PER_CLOCK = 12.9
#: Schedulers of an SM, each with a quarter of its lanes and matrix units.
SCHEDULERS = 4
#: Dots of one block and elementwise work of another overlap: their time is their norm of this order (with 1,
#: not at all).
MIXED = 1.37
#: Issue slots of an element that a computed index finds; and of copying it alone to shared memory first.
GATHER_SLOTS, COPIED_GATHER_SLOTS = 6.0, 64.0
#: A load that L1 answers, waited for.
GATHER_CLOCKS = 33.0
#: Blocks on one SM fill each other's gaps: n of them leave 1 / n to this power; and so do warp groups.
GAPS_FILLED = 1.56
GROUPS_FILL = 0.53
#: Rows of statistics are held by this many threads each (a quad of an accumulator's row).
ROW_COPIES = 4
#: A spilled byte is written and read in a pass, and dots wait for it: in bytes of shared memory's rate.
SPILL_COST = 1.17
#: Dots issued warp by warp reach this share of an asynchronous matrix unit.
WARP_DOT_SHARE = 0.55


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
    groups: int  # of four warps each
    quarters: float  # what fewer warps than an SM has schedulers leave idle: times as long
    first: float  # of ``waits``, what the first pass leaves out: its loads were waited for on entry

    @property
    def dots(self) -> float:
        """Clocks of the dots: the matrix units, or their operands' way out of shared memory."""
        return max(self.matrix, self.operands)

    @property
    def softmax(self) -> float:
        """Clocks of the elementwise work at full rate."""
        return max(self.issue, self.special)

    @property
    def stall(self) -> float:
        """How much longer one block's elementwise work takes than that."""
        return _stall(self.groups)

    def clocks(self, blocks: int, first: bool = False) -> float:
        """Clocks a pass of each block takes of the SM when ``blocks`` share it."""
        work = (self.dots + self.softmax * self.stall) * self.quarters
        alone = work + self.writes + self.waits + self.spills
        if first:
            alone -= self.first
        idle = self.quarters
        if blocks < idle:  # each on schedulers of its own
            return max(alone / blocks, self.fetch)
        busiest = self._mixed(blocks)
        filled = math.pow(blocks / idle, GAPS_FILLED) * math.pow(self.groups, GROUPS_FILL)
        gaps = max(0.0, alone / idle - busiest) / filled
        return max(busiest + gaps, self.fetch)

    def busy(self, blocks: int) -> float:
        """Those of ``clocks`` in which dots, elementwise work or L2 have something to do."""
        return max(self._mixed(blocks), self.fetch)

    def _mixed(self, blocks: int) -> float:
        return mixed(self.dots, self.softmax * _stall(blocks * self.groups / self.quarters))


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
    fetched = sum(sent(t, x) for x in body.loads)
    copied = sum(t.bytes_of(x) for x in body.loads if not t.by_descriptor(x))
    per_clock = g.number("l2_rate") / g.number("sms") / g.number("clock")
    latency = g.number("latency") * 1e3 * g.number("clock")
    fetch = fetched / per_clock + t.stored_bytes(body) / STORED_PER_CLOCK
    slots = _elements(t, body.slots) + _gathered(t, body)
    issue = slots / g.number("vector_per_clock")
    special = _elements(t, body.special) / g.number("exp_per_clock")
    tiles = [x for x in body.loads if x.axes]
    at_once = [x for x in tiles if t.stages == 1 or not x.leads_to_dot]  # the others have a pipeline
    waited = 2 * latency + sum(sent(t, x) for x in at_once) / per_clock if at_once else 0.0
    late = 0.0
    if len(at_once) < len(tiles) and (t.stages == 2 or not asynchronous):
        late = LATE_LATENCIES * latency  # with more stages loads are far enough ahead
    return Pass(
        matrix=matrix,
        operands=operands / bandwidth,
        issue=issue,
        special=special,
        writes=WRITE_SHARE * copied / bandwidth,
        fetch=fetch,
        waits=waited
        + late
        + DOT_CLOCKS * len({d.product for d in body.dots})
        + _descriptor_wait(t)
        + _gather_wait(t, body),
        spills=SPILL_COST * spill * t.threads / bandwidth,
        groups=max(1, t.warps // SCHEDULERS),
        quarters=max(1.0, SCHEDULERS / t.warps),
        first=late,
    )


def _gather_wait(t: Tiling, body: BodyFacts) -> float:
    """Clocks in which a thread waits for elements that a computed index finds, one after the other."""
    if t.stages > 1:
        return 0.0
    return sum(GATHER_CLOCKS * t.count(x.axes) / t.threads for x in body.loads if x.gathered)


def _gathered(t: Tiling, body: BodyFacts) -> float:
    """Issue slots of a pass for elements that a computed index finds."""
    return sum(
        t.count(x.axes) * (GATHER_SLOTS + (COPIED_GATHER_SLOTS if t.stages > 1 and x.leads_to_dot else 0.0))
        for x in body.loads
        if x.gathered
    )


def _descriptor_wait(t: Tiling) -> float:
    if not t.described:
        return 0.0
    warps = max(1, t.threads // 128)
    return DESCRIPTOR_PASS_CLOCKS[max(w for w in DESCRIPTOR_PASS_CLOCKS if w <= warps)]


def _stall(warps: float) -> float:
    """How much longer than its issue slots elementwise work takes with so many warps a scheduler."""
    return 1.0 + ISSUE_STALL / max(1.0, warps) ** 2


def _elements(t: Tiling, table: Mapping[Axes, float]) -> float:
    return sum(n * t.count(a) * (ROW_COPIES if len(a) == 1 else 1) for a, n in table.items() if a)


def mixed(dots: float, softmax: float) -> float:
    """The clocks of dots and elementwise work where there is always another block's to do."""
    return norm(dots, softmax, MIXED)


def norm(a: float, b: float, order: float) -> float:
    most = max(a, b)
    return most * math.pow(math.pow(a / most, order) + math.pow(b / most, order), 1 / order) if most else 0.0
