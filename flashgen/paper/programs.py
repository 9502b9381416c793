"""Programs in numbers: the papers' attention, tiles from the planner or given, counts and predicted times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, TypeAlias

from flashgen.count.counts import Numbers, counts
from flashgen.driver import Lowered, lower_spec
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.order import order_of
from flashgen.plan.plan import MAX_SPILL_BYTES, KernelPlan
from flashgen.plan.resources import tiling
from flashgen.plan.search import STAGES, WARPS, candidates, choose, judge, promise
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

#: GPT-2 medium's attention as FlashAttention's Figure 2 has it: 64 sequences of 1024, 16 heads of 64, fp16.
PAPER = Workload(64, 16, 16, 1024, 1024)
HEAD_DIM, DTYPE, ITEM = 64, "fp16", 2
#: The papers' GPU, and the one that flashgen's time model was fitted on.
TARGETS = ("a100", "h100")
#: How many plans of a kernel are compiled where one is measured.
TRIED = 4
#: A mask that hides nothing as long as every sequence has its full length, as in the papers' timing.
PADDING: Mapping[str, Any] = {
    "mask": "k < length[b]",
    "inputs": {"length": {"shape": ["batch"], "dtype": "int"}},
}
#: The algorithms: what they are called here, their schedules forward and backward.
STANDARD = ("standard", "standard", "standard_backward")
FLASH1 = ("FlashAttention", "flash1", "flash1_backward")
FLASH2 = ("FlashAttention-2", "flash2", "backward")

#: Tile sides of each kernel of a program.
Sides: TypeAlias = Sequence[Mapping[str, int]]


@lru_cache(maxsize=64)
def _lowered(text: str, schedule: str) -> Lowered:
    return lower_spec(AttentionSpec.from_json(text), schedule)


def lowered(fields: Mapping[str, Any], schedule: str) -> Lowered:
    """An attention of head dim 64 with these fields of a spec, lowered."""
    spec = AttentionSpec(**{"name": "attention", "head_dim": HEAD_DIM, **fields})
    return _lowered(spec.canonical_json(), schedule)


@lru_cache(maxsize=256)
def planned(of: Lowered, target: str, w: Workload) -> tuple[KernelPlan, ...]:
    """What the planner chooses for each kernel, nothing compiled."""
    return choose(of.program, target, DTYPE, w).kernels


def sides_of(plans: Sequence[KernelPlan]) -> Sides:
    """The tile sides of each kernel."""
    return [dict(p.sides) for p in plans]


def promising(
    of: Lowered, target: str, w: Workload, sides: Mapping[str, int] | None = None
) -> tuple[tuple[KernelPlan, ...], ...] | str:
    """Of each kernel the plans of least predicted time, with these sides where any are given: at most
    ``TRIED``, which differ in sides, warps or a limit on registers. Or why none fits."""
    return _promising(of, target, w, tuple(sides.items()) if sides else ())


@lru_cache(maxsize=256)
def _promising(
    of: Lowered, target: str, w: Workload, sides: tuple[tuple[str, int], ...]
) -> tuple[tuple[KernelPlan, ...], ...] | str:
    g, fixed = load_target(target), dict(sides)
    out = []
    for i, f in enumerate(facts(of.program)):
        if not fixed:
            found = candidates(of.program, i, g, DTYPE, w)
        else:
            own = tuple((name, fixed[name]) for name in f.sides)
            plans = [KernelPlan(own, n, stages, order_of(f)) for n, stages in product(WARPS, STAGES)]
            found = [judge(f, p, DTYPE, g, w) for p in plans]
        good = [c.plan for c in sorted((c for c in found if not c.rejected), key=promise)]
        if not good:
            return max((c.rejected for c in found), key=lambda why: ("spill" in why, "memory" in why, why))
        different: dict[object, KernelPlan] = {}
        for p in good:
            different.setdefault((p.sides, p.num_warps, p.max_registers > 0), p)
        out.append(tuple(different.values())[:TRIED])
    return tuple(out)


def fastest(of: Lowered, target: str, w: Workload, sides: Mapping[str, int]) -> tuple[KernelPlan, ...] | str:
    """Each kernel with these sides and the warps and stages of the least predicted time; or why none fits."""
    found = promising(of, target, w, sides)
    return found if isinstance(found, str) else tuple(plans[0] for plans in found)


def totals(of: Lowered, sides: Sides, w: Workload, items: Mapping[str, int] | None = None) -> Numbers:
    """The counts of a program whose kernels have sides of their own. ``items``: bytes of an element, by
    tensor, where it is not the program's."""
    read: Counter[str] = Counter()
    written: Counter[str] = Counter()
    parts = [counts(of.program).of_kernel(i).at(w, s, DTYPE, items) for i, s in enumerate(sides)]
    for n in parts:
        read.update(n.read)
        written.update(n.written)
    flops, exponentials = (sum(n.flops for n in parts), sum(n.exponentials for n in parts))
    return Numbers(dict(read), dict(written), flops, exponentials, max(n.on_chip for n in parts))


def predicted(of: Lowered, target: str, w: Workload, plans: Sequence[KernelPlan]) -> tuple[float, int]:
    """Milliseconds and DRAM bytes of all kernels, as the time model has them."""
    g = load_target(target)
    pairs = zip(facts(of.program), plans, strict=True)
    costs = [kernel_cost(tiling(f, p, DTYPE, g), w) for f, p in pairs]
    return sum(c.us for c in costs) / 1e3, sum(c.hbm_bytes for c in costs)


def spills(of: Lowered, target: str, w: Workload, plans: Sequence[KernelPlan]) -> bool:
    """Whether a kernel is predicted to spill more than the planner allows: the compiler has the word."""
    pairs = zip(facts(of.program), plans, strict=True)
    return any(judge(f, p, DTYPE, load_target(target), w).spill_bytes > MAX_SPILL_BYTES for f, p in pairs)
