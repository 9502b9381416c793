"""The order in which a kernel's programs are launched: which of them run side by side.

Three choices. Rows of one head follow one another, so that they share K and V in L2. Under a mask that
leaves rows of different lengths the longest come first, a few heads together, so that short rows fill what
long ones leave. And where heads or batch entries share a tensor (a bias of all entries), those that share it
follow one another, if that takes less from DRAM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.dram import apart
from flashgen.plan.model.facts import KernelFacts
from flashgen.targets.target import Target

from .plan import KernelPlan, Measured, Order
from .resources import tiling

#: Heads launched together where rows differ in length. Measured on H100, causal, head dims 64 to 256 and
#: 2,048 to 16,384 keys: 4 to 8 are best or within 2% of it; 1 loses up to 20%, all of them up to 25%.
HEADS_TOGETHER = 8
#: The tiles for which orders are compared: what is read from DRAM hardly depends on them.
SIDE, WARPS, REGISTERS = 64, 4, 128
#: Less DRAM traffic than this share is no difference; and how much closer sharers must come.
WORTH, CLOSER = 0.02, 0.5


def order_of(f: KernelFacts) -> Order:
    """As the program nests its axes; where rows differ, the longest first, some heads together."""
    axes = tuple(g.name for g in f.kernel.grid)
    if f.kernel.longest is None:
        return Order(axes)
    axis, end = f.kernel.longest
    return Order(axes, (axis,) if end == "last" else (), HEADS_TOGETHER)


def orders(f: KernelFacts) -> Iterator[Order]:
    """``order_of``, and the orders that nest the axes otherwise."""
    usual = order_of(f)
    moving = usual.axes[:-1] if usual.group else usual.axes
    for axes in permutations(moving):
        yield replace(usual, axes=(*axes, *usual.axes[len(moving) :]))


def best_order(f: KernelFacts, target: Target, dtype: str, w: Workload) -> Order:
    """Of the orders that read least from DRAM at ``w`` that which keeps sharers closest together;
    ``order_of`` where no other is clearly better."""
    usual = order_of(f)
    if len(usual.axes) < 2 or not f.sides:
        return usual
    found = {o: traffic(f, o, target, dtype, w) for o in orders(f)}
    least = min(dram for dram, _ in found.values())
    good = [o for o, (dram, _) in found.items() if dram <= (1 + WORTH) * least]
    best = min(good, key=lambda o: found[o][1])
    return best if usual not in good or found[best][1] < CLOSER * found[usual][1] else usual


def traffic(f: KernelFacts, order: Order, target: Target, dtype: str, w: Workload) -> tuple[int, float]:
    """DRAM bytes of a kernel in this order, and how far apart those are that share (``dram.apart``)."""
    plan = KernelPlan(tuple((s, SIDE) for s in f.sides), WARPS, 1, order)
    t = tiling(f, plan, dtype, target)
    cost = kernel_cost(t, w, Measured(0, REGISTERS, 0))
    return cost.hbm_bytes, apart(t, w, cost.trips, dict(plan.sides))
