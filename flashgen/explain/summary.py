"""A plan in three lines for everybody: what was chosen, how fast it is, what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flashgen.expr.nodes import variables
from flashgen.ir.program import Program
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.model.cost import Cost, kernel_cost
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.model.tiling import Tiling, blocks_per_sm, tiling
from flashgen.plan.plan import KernelPlan
from flashgen.plan.search import Candidate, best_of_each, candidates, check_dtype, choose
from flashgen.size import counted, show_size
from flashgen.targets.target import Target

#: What lies along an axis, for readers.
AXES = {"q": "queries", "k": "keys"}
#: ``Cost.bound`` in words.
LIMITS = {
    "arithmetic of dots": "the matrix products themselves",
    "operands of dots": "feeding the matrix units from shared memory",
    "issue slots": "the instructions of score, mask and weights",
    "exponential unit": "the exponentials of the weights",
    "L2 traffic": "fetching tiles from the L2 cache",
    "DRAM traffic": "reading and writing the tensors in memory",
    "launch and latency": "starting up: the call is too short to fill the GPU",
    "waits that no other work fills": "waiting for data, with too little else to do",
}


@dataclass(frozen=True)
class Summary:
    """``chosen``: what runs; ``speed``: how fast, as predicted; ``limit``: what keeps it from more."""

    chosen: str
    speed: str
    limit: str

    @property
    def lines(self) -> tuple[str, str, str]:
        """The three lines, each with its heading."""
        return f"Chosen: {self.chosen}", f"Speed:  {self.speed}", f"Limit:  {self.limit}"

    def __str__(self) -> str:
        return "\n".join(self.lines)


def summary(
    program: Program, target: Target, dtype: str = "bf16", workload: Workload | None = None,
    ranked: Sequence[list[Candidate]] | None = None,
) -> Summary:  # fmt: skip
    """The summary of the plan for ``program`` on ``target``.

    ``ranked``: candidates of each kernel in order, where some were compiled (``select.rankings``).
    Raises ``PlanError`` as ``choose`` does.
    """
    check_dtype(target, dtype)
    w = workload or LONG
    if not target.gpu:
        return interpreted(program, target, dtype, w)
    found = ranked or [candidates(program, i, target, dtype, w) for i in range(len(program.kernels))]
    return summarised(program, target, dtype, w, best_of_each(found, target, program))


def summarised(
    program: Program, target: Target, dtype: str, w: Workload, chosen: Sequence[Candidate]
) -> Summary:
    """The summary of what was ``chosen`` for each kernel of ``program``."""
    tiled = [(f, tiling(f, c.plan, dtype, target), c) for f, c in zip(facts(program), chosen, strict=True)]
    costs = [c.cost or kernel_cost(t, w) for _, t, c in tiled]
    slowest = max(range(len(costs)), key=lambda i: costs[i].us)
    said = [f"{_name(program, f, len(tiled))}{_tiles(c.plan, f)}" for f, _, c in tiled]
    warps = [counted(c.plan.num_warps, "warp") for c in chosen]
    return Summary(
        f"{program.name} on {target.name}, {dtype}: "
        + "; ".join(map(", ".join, zip(said, warps, strict=True))),
        _speed(target, dtype, costs, all(c.measured for c in chosen)),
        _limit(program, *tiled[slowest], costs[slowest], len(tiled)),
    )


def interpreted(program: Program, target: Target, dtype: str, w: Workload) -> Summary:
    """The summary where programs are interpreted."""
    plan = choose(program, target, dtype, w)
    tiles = "; ".join(_tiles(k, f) for f, k in zip(facts(program), plan.kernels, strict=True))
    size = show_size(target.integer("working_set"))
    return Summary(
        f"{program.name} on {target.name}, {dtype}: interpreted in {tiles}",
        "not predicted: the interpreter is for checking, on any machine",
        f"a tile of scores takes {size} at most",
    )


def _name(program: Program, f: KernelFacts, kernels: int) -> str:
    return f"{f.kernel.name.removeprefix(f'{program.name}_')} " if kernels > 1 else ""


def _tiles(plan: KernelPlan, f: KernelFacts) -> str:
    """``tiles of 128 queries x 64 keys``."""
    axes = {s: a for a, size in f.sizes.items() for s in variables(size)}
    sides = " x ".join(f"{n} {AXES.get(axes.get(s, s), s)}" for s, n in plan.sides)
    return f"tiles of {sides}" if sides else "no tiles"


def _speed(target: Target, dtype: str, costs: Sequence[Cost], compiled: bool) -> str:
    us = sum(c.us for c in costs)
    tflops = sum(c.flops for c in costs) / max(us, 1e-9) / 1e6
    peak = target.number(f"{dtype}_rate")
    time = f"{us:,.1f} us" if us < 1000 else f"{us / 1000:,.2f} ms"
    said = f"{time} predicted{' as compiled' if compiled else ''}: {tflops:,.0f} TFLOP/s"
    return f"{said}, {100 * tflops / peak:.0f}% of the data sheet's {peak:,.0f}"


def _limit(program: Program, f: KernelFacts, t: Tiling, c: Candidate, cost: Cost, kernels: int) -> str:
    per_sm, limit = blocks_per_sm(t, c.smem_bytes, c.registers)
    slowest = f", in {_name(program, f, kernels)}".rstrip() if kernels > 1 else ""
    words = LIMITS.get(cost.bound, cost.bound)
    return f"{words}{slowest}; {counted(per_sm, 'block')} an SM, limited by {limit}"
