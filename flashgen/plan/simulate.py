"""A loop of a compiled kernel, issued clock by clock: what a pass of it takes where blocks share an SM.

The four schedulers of an SM have equal warps, so one is looked at. It issues the instructions of each warp in
order, as soon as what ptxas makes the warp wait for is there and the instruction's pipe is free; of several
warps, that which is ready first. Dots, copies and tiles that descriptors fetch run on by themselves, and are
waited for where the code does. Blocks start apart, and their first passes are not counted; whether they fall
into step depends on how far apart, so the mean of several starts counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .pipes import (
    COPY_LATENCY,
    DOT_LATENCY,
    FETCH_LATENCY,
    QUEUED,
    RELEASE,
    SMEM_BYTES,
    SMEM_SHARE,
    SYNC_LATENCY,
    Event,
    Pipe,
    Step,
)
from .sass import NONE

#: Passes of each warp, and how many of them come before the count.
PASSES, BEFORE = 14, 4
#: How far apart blocks start: what the compiler's stalls add up to, so many times, shared among them.
APART = (1.2, 1.5, 1.8)
_NEVER = float("inf")
_AWAITING = (Event.DOTS_AWAITED, Event.COPIES_AWAITED, Event.FETCH_AWAITED)


@dataclass(slots=True)
class _Block:
    warps: list[_Warp] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)  # when each tile is there
    synced: int = 0  # warps that wait for the others


@dataclass(slots=True)
class _Warp:
    block: _Block
    ready: float  # when it can issue its next step, the pipe apart
    at: int = 0
    passes: int = 0
    barriers: list[float] = field(default_factory=lambda: [0.0] * (NONE + 1))
    dots: list[float] = field(default_factory=list)  # when each group of dots is done
    copied: float = 0.0
    copies: list[float] = field(default_factory=list)  # when each group of copies is there
    awaited: int = 0  # waits for fetched tiles in this pass


@dataclass(slots=True)
class _Scheduler:
    """One of an SM's schedulers with the warps it has of each block."""

    steps: Sequence[Step]
    fetch_bytes: float  # of a fetch by descriptor
    ahead: int
    l2_rate: float
    warps: list[_Warp] = field(default_factory=list)
    free: list[float] = field(default_factory=lambda: [0.0] * len(Pipe))
    issued: float = 0.0
    l2: float = 0.0  # until when L2 is busy for this SM
    owed: float = 0.0  # clocks of shared memory that dots have yet to make room for
    dotted: float = 0.0  # when the last dot ends
    fetches: int = 0  # of a pass
    waits: int = 0

    def next(self, last: _Warp) -> tuple[float, _Warp]:
        """The warp that issues next, and when; ``last`` goes on where it can."""
        steps, free, issued = self.steps, self.free, self.issued
        first, chosen = _NEVER, last
        for w in self.warps:
            t = w.ready
            if t < first:
                pipe = steps[w.at].pipe
                room = free[pipe] - QUEUED[pipe]
                if room > t:
                    t = room
                if issued > t:
                    t = issued
                if t < first or (t == first and w is last):
                    first, chosen = t, w
        return first, chosen

    def issue(self, w: _Warp, t: float) -> None:
        """Issue the next step of ``w`` at ``t``."""
        s = self.steps[w.at]
        pipe = s.pipe
        start = self.free[pipe]
        if t > start:
            start = t
        end = start + s.busy
        there, following = end + s.latency, t + s.stall
        match s.event:
            case Event.NOTHING:
                self.owed += s.smem
            case Event.DOT:
                # Its operands have what is left of shared memory's rate by what else moved meanwhile.
                self.owed = max(0.0, self.owed - max(0.0, start - self.dotted))
                end = self.dotted = start + max(s.busy, s.smem + self.owed)
                self.owed = 0.0
                if s.amount:
                    w.dots.append(end + DOT_LATENCY)
            case Event.COPY | Event.LOAD:
                self.owed += s.smem
                there = self._delivered(t, s.amount, COPY_LATENCY)
                w.copied = max(w.copied, there) if s.event == Event.COPY else w.copied
            case Event.COMMIT:
                w.copies.append(w.copied)
            case Event.FETCH if w is w.block.warps[0]:
                self.owed += SMEM_SHARE * self.fetch_bytes / SMEM_BYTES
                w.block.fetched.append(self._delivered(t, self.fetch_bytes, FETCH_LATENCY))
            case Event.FETCH_AWAITED:
                w.awaited += 1
            case Event.SYNC:
                following = self._synced(w.block, t, following)
        self.issued = t + s.issue
        if pipe:
            self.free[pipe] = end
        if s.writes != NONE:
            w.barriers[s.writes] = max(w.barriers[s.writes], there)
        if s.reads != NONE:
            w.barriers[s.reads] = max(w.barriers[s.reads], end + RELEASE)
        w.at += 1
        if w.at == len(self.steps):
            w.at = w.awaited = 0
            w.passes += 1
        s = self.steps[w.at]
        if (s.waits or s.event in _AWAITING) and following != _NEVER:
            following = max(following, self._awaited(w))
        w.ready = following

    def _delivered(self, t: float, size: float, latency: float) -> float:
        self.l2 = max(self.l2, t) + size / self.l2_rate
        return max(self.l2, t + latency)

    def _synced(self, block: _Block, t: float, following: float) -> float:
        block.synced += 1
        if block.synced < len(block.warps):
            return _NEVER
        block.synced = 0
        there = max(t + SYNC_LATENCY, following)
        for other in block.warps:
            if other.ready == _NEVER:
                other.ready = max(there, self._awaited(other))
        return there

    def _awaited(self, w: _Warp) -> float:
        """When what the next step of ``w`` waits for is there."""
        s, t = self.steps[w.at], 0.0
        if s.waits:
            t = max(b for i, b in enumerate(w.barriers) if s.waits >> i & 1)
        if s.event == Event.DOTS_AWAITED and len(w.dots) > s.amount:
            return max(t, w.dots[-1 - s.amount])
        if s.event == Event.COPIES_AWAITED and len(w.copies) > s.amount:
            return max(t, w.copies[-1 - s.amount])
        if s.event == Event.FETCH_AWAITED:
            tile = (w.passes - self.ahead) * self.fetches + (w.awaited + 1) * self.fetches // self.waits - 1
            if 0 <= tile < len(w.block.fetched):
                return max(t, w.block.fetched[tile])
        return t


def pass_clocks(
    steps: Sequence[Step], blocks: int, warps: int, fetched: float, ahead: int, l2_rate: float
) -> float:
    """Clocks in which each of ``blocks`` blocks on an SM makes one pass of a loop.

    ``warps``: of a block on each scheduler; ``fetched``: bytes that descriptors bring a pass, asked for
    ``ahead`` passes before they are needed; ``l2_rate``: bytes a clock that L2 sends to an SM.
    """
    fetches = sum(s.event == Event.FETCH for s in steps)
    waits = sum(s.event == Event.FETCH_AWAITED for s in steps)
    length = sum(s.stall for s in steps)

    def started(apart: float) -> float:
        sm = _Scheduler(steps, fetched / max(fetches, 1), ahead, l2_rate, fetches=fetches, waits=waits)
        return _run(sm, blocks, warps, apart * length / blocks)

    starts = APART if blocks > 1 else APART[:1]
    return sum(map(started, starts)) / len(starts)


def _run(sm: _Scheduler, blocks: int, warps: int, apart: float) -> float:
    for b in range(blocks):
        block = _Block()
        block.warps = [_Warp(block, apart * b) for _ in range(warps)]
        sm.warps += block.warps
    begun, total, w = 0.0, 0, sm.warps[0]
    while True:
        t, w = sm.next(w)
        sm.issue(w, t)
        if w.at == 0:
            total += 1
            if total == BEFORE * len(sm.warps):
                begun = t
            elif total == PASSES * len(sm.warps):
                return (t - begun) / (PASSES - BEFORE)
