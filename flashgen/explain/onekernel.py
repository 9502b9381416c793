"""One kernel or two in the backward: what dQ in the kernel of dK and dV would save, and what it would add.

dQ is a sum over keys, dK and dV are sums over queries. A kernel for each recomputes the scores and dP; one
kernel for all adds its share of dQ to memory, for every tile of keys, in an order that differs from run to
run.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashgen.plan.model.cost import Cost
from flashgen.plan.model.facts import DotFacts, KernelFacts
from flashgen.plan.resources import Tiling


def one_kernel_text(found: Sequence[tuple[KernelFacts, Tiling, Cost]]) -> str:
    """The trade in words; empty where a program has no such two kernels."""
    rows = [x for x in found if "dq" in x[0].writes and "dk" not in x[0].writes]
    keys = [x for x in found if "dk" in x[0].writes]
    if not rows or not keys:
        return ""
    (f, t, cost), (other, of, kept) = rows[0], keys[0]
    dots = [(n, d) for n, loop in zip(cost.trips, f.loops, strict=True) for d in loop.dots]
    again = sum(n * t.flops(d) for n, d in dots if d.a_loaded) * cost.blocks
    width = sum(t.sizes[a] for a in {a for _, d in dots if not d.a_loaded for a in d.n})
    passes = sum(n * of.sizes[_rows(loop.dots[0])] for n, loop in zip(kept.trips, other.loops, strict=True)
                 if loop.dots)  # fmt: skip
    added = kept.blocks * passes * width * of.item("acc")
    l2 = t.target.number("l2_rate")
    total, us = sum(c.flops for _, _, c in found), sum(c.us for _, _, c in found)
    again_us = us * again / max(total, 1)
    return (
        f"dQ has a kernel of its own, which computes the scores and dP again: {again / 1e12:,.2f} of "
        f"{total / 1e12:,.2f} TFLOP, {again_us:,.1f} us at the rate of this plan. One kernel "
        f"for all gradients would save them, and add {added / 1e9:,.2f} GB of shares of dQ to memory instead "
        f"({added / l2 / 1e3:,.1f} us or more in L2, at {l2:,.0f} GB/s), in an order that differs from run "
        "to run. So it is two: their gradients are equal bit for bit, and one kernel, written by hand, was "
        "slower in 11 of 12 cases on H100 (docs/benchmarks.md)"
    )


def _rows(d: DotFacts) -> str:
    """The axis of queries of a kernel over keys: the columns of its first product."""
    return d.n[0]
