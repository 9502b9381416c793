"""The bytes that a candidate requests of L2, and their formula: counted off the program (``plan/count``)."""

from __future__ import annotations

from functools import cache

from flashgen.count.counts import counts
from flashgen.count.number import TooManyTiles
from flashgen.explain.formulas import sum_text, traffic_text
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import Cost
from flashgen.plan.model.facts import facts
from flashgen.plan.plan import KernelPlan
from flashgen.plan.resources import Tiling
from flashgen.plan.search import COLUMN_SIDES, ROW_SIDES

#: Sides with which the tiles are the most.
LEAST_SIDE = min(ROW_SIDES + COLUMN_SIDES)


@cache
def counted(program: Program, kernel: int, w: Workload) -> bool:
    """Whether there is a count at ``w``: not where it would look at each pair of a query and a key by itself,
    as the gradient of a table read by their distance does, nor where the least tiles are too many."""
    found = counts(program).of_kernel(kernel)
    if any(o.var.startswith("@") for a in found.amounts for o in a.over):
        return False
    try:
        found.at(w, dict.fromkeys(facts(program)[kernel].sides, LEAST_SIDE))
    except TooManyTiles:
        return False
    return True


def requested(program: Program, kernel: int, plan: KernelPlan, cost: Cost, w: Workload, dtype: str) -> int:
    """Bytes read and written by kernel number ``kernel`` under ``plan``; those that the time model takes it
    to load where there is no count."""
    if not counted(program, kernel, w):
        return cost.l2_bytes
    return _number(program, kernel, plan.sides, w, dtype)


@cache
def _number(
    program: Program, kernel: int, sides: tuple[tuple[str, int], ...], w: Workload, dtype: str
) -> int:
    return counts(program).of_kernel(kernel).at(w, dict(sides), dtype).requested


def formula(program: Program, kernel: int, t: Tiling, w: Workload) -> str:
    """Requested bytes of the kernel in symbols, and what the formula assumes; of one program of its grid
    where the mask's bounds leave sums that nobody would read."""
    simple = all(len(loop.domain) == 1 for loop in t.facts.loops)
    found = counts(program).of_kernel(kernel).closed if simple and counted(program, kernel, w) else None
    if found is None or not found.assuming:
        return sum_text(t) or traffic_text(t)
    return f"{found.requested}\n(where {', '.join(found.assuming)})"
