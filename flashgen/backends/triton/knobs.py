"""The numbers that a Triton kernel is compiled with, and which of them make sense together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from flashgen.plan.backend import Refinement
from flashgen.plan.model.facts import KernelFacts
from flashgen.plan.model.tiling import Tiling, blocks_per_sm
from flashgen.plan.plan import KernelPlan, Measured, Order

from .registers import register_parts, spilled

#: Sides are powers of two, as Triton's tiles are.
ROW_SIDES = (16, 32, 64, 128, 256)
COLUMN_SIDES = (16, 32, 64, 128, 256)
WARPS = (1, 2, 4, 8)
STAGES = (1, 2, 3, 4)
#: Registers a thread must keep beside its tiles under a stated limit: with fewer, dots wait on one another.
ROOM = 24


def sides_of(f: KernelFacts) -> Iterator[dict[str, int]]:
    """Every assignment of numbers to the kernel's sides."""
    choices = [ROW_SIDES if s == f.row_side else COLUMN_SIDES for s in f.sides]
    for numbers in product(*choices):
        yield dict(zip(f.sides, numbers, strict=True))


def knobs(f: KernelFacts, order: Order) -> Iterator[KernelPlan]:
    """Every assignment of sides, warps and stages, sensible or not."""
    for sides in sides_of(f):
        for warps, stages in product(WARPS, STAGES):
            yield KernelPlan(tuple(sides.items()), warps, stages, order)


def by_descriptor(t: Tiling, sizes: Measured) -> list[KernelPlan]:
    """The same tiles read by tensor descriptors, where the target has them, loops read boxes and loads
    overlap with dots."""
    overlaps = t.stages > 1 and any(t.wgmma(d) for x in t.facts.loops for d in x.dots)
    if not (t.target.descriptors and overlaps and any(y.streamed for x in t.facts.loops for y in x.loads)):
        return []
    return [replace(t.plan, loads="descriptor")]


def with_room(t: Tiling, sizes: Measured) -> list[KernelPlan]:
    """The same tiles with as few registers a thread as let one more block share an SM."""
    now, limit = blocks_per_sm(t, sizes.smem_bytes, sizes.registers)
    if limit != "registers" or not t.target.register_caps:
        return []
    cap = t.target.integer("registers_per_sm") // (t.threads * (now + 1)) // 8 * 8
    limited = replace(t, plan=replace(t.plan, max_registers=cap))
    parts = register_parts(limited)
    if parts["tiles"] + ROOM > cap or spilled(limited, sum(parts.values())):
        return []
    return [replace(t.plan, max_registers=cap)]


#: In the order in which they are tried, each on what the ones before it found too.
REFINEMENTS = (Refinement(by_descriptor), Refinement(with_room, needs="registers"))


def misfit(t: Tiling) -> str:
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
