"""What a launch order does, predicted: programs given out one by one to the first SM that is free.

The time model knows how long each program takes; the order decides how ragged the end is, and what is read
from DRAM again. Both are told for the order that a plan has and for those that it could have had.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from flashgen.ir.workload import Workload
from flashgen.plan.order import order_of, orders
from flashgen.plan.plan import KernelPlan, Order
from flashgen.plan.resources import tiling
from flashgen.plan.search import Candidate
from flashgen.targets.target import Target

from .cost import Cost, kernel_cost, overlapped
from .facts import KernelFacts
from .trips import extent, row_samples

#: Orders of one effect that are named.
NAMED = 3
#: Programs given out at most.
MOST_PROGRAMS = 1 << 16


@dataclass(frozen=True)
class Effect:
    """Another order: what it would be called, its predicted time, and its DRAM traffic."""

    name: str
    us: float
    dram: int


def effects(
    f: KernelFacts, best: Candidate, dtype: str, target: Target, w: Workload
) -> tuple[Effect, list[Effect]]:
    """The order of the plan, and the orders that it could have had instead, as predicted for its tiles."""
    mine = best.plan.order
    return _effect("as planned", f, best, mine, dtype, target, w), [
        _effect(name, f, best, order, dtype, target, w) for name, order in _others(f, mine, w)
    ]


def _others(f: KernelFacts, mine: Order, w: Workload) -> Iterator[tuple[str, Order]]:
    if f.kernel.longest is not None:
        axis, _ = f.kernel.longest
        backwards = () if mine.reverse else (axis,)
        yield "the shortest programs first", replace(mine, reverse=backwards)
        yield "head by head", replace(mine, group=1)
        yield "all heads together", replace(mine, group=max(1, w.B * w.Hq))
    usual = order_of(f)
    if usual.axes != mine.axes:
        yield " > ".join(usual.axes), replace(mine, axes=usual.axes)
        return
    for o in orders(f):
        if o.axes != usual.axes:
            yield " > ".join(o.axes), o


def _effect(
    name: str, f: KernelFacts, best: Candidate, order: Order, dtype: str, target: Target, w: Workload
) -> Effect:
    plan = replace(best.plan, order=order)
    cost = kernel_cost(tiling(f, plan, dtype, target), w, best.sizes)
    return Effect(name, time_of(f, plan, cost, target, w), cost.hbm_bytes)


def time_of(f: KernelFacts, plan: KernelPlan, cost: Cost, target: Target, w: Workload) -> float:
    """The predicted time with programs given out in the plan's order, microseconds."""
    free = [0.0] * (target.integer("sms") * cost.per_sm)
    given = 0
    for clocks in _clocks(f, plan, cost, w):
        heapq.heapreplace(free, free[0] + clocks)
        given += 1
    more = max(1.0, cost.blocks / max(1, given))  # a launch of more ends as smoothly
    us = max(free) * more / (target.number("clock") * 1e3)
    return overlapped(us, cost.hbm_us)


def _clocks(f: KernelFacts, plan: KernelPlan, cost: Cost, w: Workload) -> Iterator[float]:
    """How long each program takes, in launch order."""
    sides = dict(plan.sides)
    extents = {g.name: extent(g.extent, w, sides) for g in f.kernel.grid}
    cut = f.cut.name if f.cut else ""
    rows = _filled(cost.rows, extents.get(cut, 1)) if extents.get(cut, 1) <= MOST_PROGRAMS else [*cost.rows]
    heads = prod(e for a, e in extents.items() if a != cut)
    heads = max(1, min(heads, MOST_PROGRAMS // max(1, len(rows))))
    if cut in plan.order.reverse:
        rows = rows[::-1]
    if cut != plan.order.axes[-1]:  # heads inside of rows, or between them: all rows differ little then
        yield from (x for x in rows for _ in range(heads))
        return
    together = plan.order.together(w) or 1
    for first in range(0, heads, together):
        for x in rows:
            yield from [x] * min(together, heads - first)


def _filled(sampled: tuple[float, ...], rows: int) -> list[float]:
    """The clocks of every row tile from those of ``trips.row_samples``."""
    at = list(row_samples(rows))
    if len(at) < 2 or len(at) == rows:
        return list(sampled) if len(at) == rows else list(sampled[:1]) * rows
    out = []
    i = 0
    for row in range(rows):
        while i + 2 < len(at) and row > at[i + 1]:
            i += 1
        part = (row - at[i]) / (at[i + 1] - at[i])
        out.append(sampled[i] + min(max(part, 0.0), 1.0) * (sampled[i + 1] - sampled[i]))
    return out


def effect_lines(f: KernelFacts, best: Candidate, dtype: str, target: Target, w: Workload) -> list[str]:
    """The effects in words, one line for the orders of each effect."""
    mine, others = effects(f, best, dtype, target, w)
    names: dict[str, list[str]] = {}
    for o in others:
        what = _change(o.us / mine.us) if mine.us else "nothing to do"
        if abs(o.dram - mine.dram) > 0.01 * mine.dram:
            what += f", DRAM {o.dram / 1e9:,.2f} GB instead of {mine.dram / 1e9:,.2f} GB"
        names.setdefault(what, []).append(o.name)
    lines = [f"  {_some(alike)}: {what}" for what, alike in names.items()]
    return lines and ["predicted, had the programs been launched otherwise:", *lines]


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f"; {more} more" if more > 0 else "")


def _change(ratio: float) -> str:
    if abs(ratio - 1) < 0.005:
        return "as fast"
    return f"{100 * (ratio - 1):.0f}% slower" if ratio > 1 else f"{100 * (1 - ratio):.0f}% faster"
