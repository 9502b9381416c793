"""Why this plan: three lines for everybody, then the choice, what binds it, formulas with their numbers, what
was rejected and why.

Everything shown is read off the program and the target; ``rich`` renders it, plainly where the output is
no terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from flashgen.count.number import TooManyTiles
from flashgen.expr.nodes import variables
from flashgen.expr.text import to_text
from flashgen.grid import Grid, Prose, grid
from flashgen.ir.program import Program, Scalar, statements
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.backend import backend_of
from flashgen.plan.model.cost import Cost, kernel_cost
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.model.launches import effect_lines
from flashgen.plan.model.passes import Pass
from flashgen.plan.model.tiling import Tiling, blocks_per_sm, on_chip_bytes, tiling
from flashgen.plan.plan import KernelPlan, Plan
from flashgen.plan.search import Candidate, best_of_each, candidates, check_dtype, choose, promise
from flashgen.plan.steer import doubt
from flashgen.size import counted, show_amount, show_size
from flashgen.targets.target import Target

from .call import call_text, capacity_notes
from .formulas import flops_text, on_chip_text, register_text, smem_text, sum_text, traffic_text
from .onekernel import one_kernel_text
from .overruled import overruled
from .summary import Summary, interpreted, summarised

#: What loops over tiles are called, beside loops over heads, batches or entries.
TILES = ("full", "partial")
#: Alternatives and rejected candidates that are shown.
SHOWN = 5
NEXT_CONFIRMED = "Next best (* confirmed by the compiler; the others' times are estimates, before compiling)"
#: What a pass of a loop spends clocks on.
PASS_CAUSES = ("dots", "operands", "issue", "exp", "L2", "waits", "spills")


def explain(
    program: Program, target: Target, dtype: str = "bf16", workload: Workload | None = None,
    ranked: Sequence[list[Candidate]] | None = None, derivatives: Sequence[str] = (),
) -> RenderableType:  # fmt: skip
    """The explanation of the plan for ``program`` on ``target``.

    ``ranked``: candidates of each kernel in order, where some were compiled (``select.rankings``).
    ``derivatives``: what a backward is made of, in lines.
    Raises ``PlanError`` as ``choose`` does.
    """
    check_dtype(target, dtype)
    w = workload or LONG
    if not target.gpu:
        said = interpreted(program, target, dtype, w)
        plan = _interpreter(program, choose(program, target, dtype, w), target)
        return Group(*_opening(said, derivatives), Prose(plan))
    parts: list[RenderableType] = [_head(program, target, dtype, w)]
    notes = target.notes() + capacity_notes(program, target, dtype, w)
    parts += [Text(f"note: {note}", style="yellow") for note in notes]
    kernels = facts(program)
    found = ranked or tuple(candidates(program, i, target, dtype, w) for i in range(len(kernels)))
    chosen = best_of_each(found, target, program)
    if len(chosen) > 1:
        us = sum(c.cost.us for c in chosen if c.cost)
        parts.append(Text(f"predicted: {us:,.1f} us for the {len(chosen)} kernels together"))
        tiled = [tiling(f, c.plan, dtype, target) for f, c in zip(kernels, chosen, strict=True)]
        costs = [c.cost or kernel_cost(t, w) for t, c in zip(tiled, chosen, strict=True)]
        if trade := one_kernel_text(list(zip(kernels, tiled, costs, strict=True))):
            parts.append(Text(trade))
    for f, best, tried in zip(kernels, chosen, found, strict=True):
        parts += _kernel(f, best, tried, target, dtype, w)
    opening = _opening(summarised(program, target, dtype, w, chosen), derivatives)
    return Group(*opening, *(Prose(p) if isinstance(p, Text) else p for p in parts))


def _opening(said: Summary, derivatives: Sequence[str]) -> Iterator[RenderableType]:
    """The three lines, and the derivatives below."""
    for lines in (said.lines, derivatives):
        if lines:
            yield from (Prose(Text("\n".join(lines))), Text())


def _head(program: Program, target: Target, dtype: str, w: Workload) -> Text:
    sram = target.numbers["smem_per_block"]
    return Text.assemble(
        ("Plan of ", ""), (program.name, "bold"),
        f" on {target.name} ({target.description}, {target.arch}), {dtype}\n",
        f"for {call_text(program, w)}\n"
        f"SRAM a thread block may use: {show_size(target.smem_bytes)} ({target.sources[sram.source]})",
    )  # fmt: skip


def _kernel(
    f: KernelFacts, best: Candidate, found: list[Candidate], target: Target, dtype: str, w: Workload
) -> list[RenderableType]:
    t = tiling(f, best.plan, dtype, target)
    cost = best.cost or kernel_cost(t, w)
    return [
        _title(f"Kernel {f.kernel.name}"),
        _choice(best, cost, f, _overruled(f, target, dtype, w, found)),
        _title("Launch order"),
        Text("\n".join([order_text(best.plan, f), *effect_lines(f, best, dtype, target, w)])),
        _title("What limits it"),
        _limits(t, best, cost),
        _title("Formulas"),
        _formulas(t, best, cost, w),
        *([_title("Requested bytes, at all lengths"), Text(long)] if (long := sum_text(t)) else []),
        _title("Clocks of one pass of a loop: by cause, a block alone; together, its part of a shared SM"),
        _passes(f, cost),
        _title("Loops and their domains"),
        _domains(f, t, cost, w),
        _title(NEXT_CONFIRMED if best.measured else "Next best"),
        _next_best(best, found),
        _title("Rejected"),
        _rejected(found),
    ]


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold cyan")


def _overruled(f: KernelFacts, target: Target, dtype: str, w: Workload, found: list[Candidate]) -> str:
    if not found[0].measured:
        return doubt(f, found[0].plan, dtype, target)
    return overruled(f.program, f.program.kernels.index(f.kernel), target, dtype, w, found)


def _choice(best: Candidate, cost: Cost, f: KernelFacts, other: str) -> Text:
    tflops = cost.flops / max(cost.us, 1e-9) / 1e6
    said = "confirmed by the compiler" if best.measured else "not compiled: --confirm does, as build"
    lines = [
        f"{best.plan} ({said})",
        f"predicted: {cost.us:,.1f} us, {tflops:,.0f} TFLOP/s of dots",
        *([other] if other else []),
    ]
    return Text("\n".join(lines))


def order_text(plan: KernelPlan, f: KernelFacts) -> str:
    """The launch order in words."""
    order = plan.order
    words = " > ".join(order.axes) + " (slowest first)"
    if order.reverse:
        words += f"; {', '.join(order.reverse)} from high to low: the longest programs first"
    if order.group:
        words += f"; about {order.group} heads together, so that short rows of one fill the gaps of others"
    return words


def _limits(t: Tiling, best: Candidate, cost: Cost) -> Text:
    per_sm, limit = blocks_per_sm(t, best.smem_bytes, best.registers)
    return Text(
        f"time: {cost.bound}\n"
        f"occupancy: {counted(per_sm, 'block')} an SM, {counted(per_sm * t.warps, 'warp')}, "
        f"limited by {limit}\n"
        f"launch: {cost.blocks:,} blocks = {cost.waves:.2f} waves of {t.target.integer('sms')} SMs x {per_sm}"
    )


def _formulas(t: Tiling, best: Candidate, cost: Cost, w: Workload) -> Grid:
    measured = best.measured
    smem = f"{show_size(best.smem_bytes)} of {show_size(t.target.smem_bytes)}"
    limit = t.register_limit
    rate = t.target.number("hbm_rate")
    rows = [
        ("shared memory", smem, smem_text(t)),
        ("on chip (the papers' M)", show_size(on_chip_bytes(t)), on_chip_text(t)),
    ]
    predicted = backend_of(t.target).sizes(t)
    lost = predicted.spill_bytes
    spills = f"; about {lost} B a thread of them spill" if lost else ""
    rows.append(("registers a thread", f"~{predicted.registers:.0f} of {limit}", register_text(t) + spills))
    if measured:
        seen = f"{measured.registers} registers, {measured.spill_bytes} B spilled a thread"
        rows.append(("the compiler says", show_size(measured.smem_bytes), seen))
    took = f"{cost.hbm_us:,.1f} us at {t.target.number('hbm_sustained'):g} x {rate:,.0f} GB/s"
    dram = ("DRAM", show_amount(cost.hbm_bytes, "B"), took)
    try:
        requests = t.facts.counts.at(w, t.sides, t.dtype)
    except TooManyTiles as e:
        for name, text in (("requested from L2", traffic_text(t)), ("dots", flops_text(t))):
            rows.append((name, "left out", f"{text}; {e}"))
        return _table(("", "value", "formula"), [*rows, dram])
    rows += [("requested from L2", show_amount(requests.requested, "B"), traffic_text(t)), dram]
    work = f"{flops_text(t)}; {show_amount(requests.exponentials)} exponentials"
    rows.append(("dots", show_amount(requests.flops, "FLOP", "T"), work))
    intensity = requests.flops / max(requests.requested, 1)
    rows.append(("intensity", f"{intensity:,.0f}", "FLOP a requested byte"))
    return _table(("", "value", "formula"), rows)


def _passes(f: KernelFacts, cost: Cost) -> RenderableType:
    rows = []
    for loop, p in zip(f.loops, cost.passes, strict=True):
        clocks = [f"{x:,.0f}" for x in (*pass_clocks(p), p.clocks(cost.per_sm))]
        rows.append((f"{loop.mask} tiles", *clocks))
    return _table(("loop", *PASS_CAUSES, "together"), rows)


def pass_clocks(p: Pass) -> tuple[float, ...]:
    """The clocks of a pass by cause, in the order of ``PASS_CAUSES``."""
    return (p.matrix, p.operands, p.issue * p.stall, p.special, p.fetch, p.waits, p.spills)


def _domains(f: KernelFacts, t: Tiling, cost: Cost, w: Workload) -> Text:
    ends = [e for loop in f.loops for r in loop.domain for e in (r.lo, r.hi)]
    needed = {name for e in ends for name in variables(e)}
    lines: list[str] = []
    for s in reversed(list(statements(f.kernel.body))):
        if isinstance(s, Scalar) and s.name in needed:
            needed |= variables(s.value)
            lines.insert(0, f"  {s.name} = {to_text(s.value)}")
    for loop, n in zip(f.loops, cost.trips, strict=True):
        i = "tile" if loop.mask in TILES else "i"
        ranges = ", then ".join(f"{to_text(r.lo)} <= {i} < {to_text(r.hi)}" for r in loop.domain)
        lines.append(f"{loop.note or loop.mask}: {ranges}; {n:,.1f} passes a program on average")
    return Text("\n".join([*lines, *_visited(f, t, cost, w)]))


def _visited(f: KernelFacts, t: Tiling, cost: Cost, w: Workload) -> list[str]:
    """How many tiles of the axis that the grid does not cut a program visits, where its loops run over it."""
    trips = list(zip(f.loops, cost.trips, strict=True))
    owned = {"q": "q_tile", "k": "k_tile"}
    axes = [a for a in ("q", "k") if owned[a] not in {g.name for g in f.kernel.grid} and t.sizes.get(a)]
    visited = sum(n for loop, n in trips if loop.mask in TILES)
    if len(axes) != 1 or not any(loop.mask in TILES for loop, _ in trips):
        return []
    (axis,) = axes
    around = [n for loop, n in trips if any(inner.mask in TILES for inner in loop.loops)]
    times = max(around, default=1.0)  # once for each query head of the group
    tiles = round(times * -(-{"q": w.Nq, "k": w.Nk}[axis] // t.sizes[axis]))
    share = 100 * visited / max(tiles, 1)
    return [f"visited: {visited:,.1f} of {tiles:,} {axis} tiles ({share:.0f}%), the others are empty"]


def _next_best(best: Candidate, found: list[Candidate]) -> Grid:
    """The most promising others: those that were compiled, then the rest, each by time."""
    heads = ("sides, warps, stages", "us", "SRAM", "regs", "spill B", "blocks an SM", "bound by")
    rows = []
    others = [c for c in found if c is not best and c.cost and not c.rejected]
    others.sort(key=lambda c: (c.measured is None, promise(c)))
    for c in others[:SHOWN]:
        assert c.cost is not None
        rows.append((
            c.plan.short() + (" *" if c.measured else ""), f"{c.cost.us:,.1f}", show_size(c.smem_bytes),
            str(c.registers), str(c.spill_bytes), str(c.cost.per_sm), c.cost.bound,
        ))  # fmt: skip
    return _table(heads, rows)


def _rejected(found: list[Candidate]) -> Text:
    """The reasons, each with how many it rules out and the nearest example."""
    kinds = Counter(kind_of(c) for c in found if c.rejected)
    lines = []
    for kind, n in kinds.most_common():
        these = [c for c in found if c.rejected and kind_of(c) == kind]
        example = min(these, key=lambda c: (c.smem_bytes, c.spill_bytes))
        lines.append(f"{n:4d}  {kind}; for example {example.plan}: {example.rejected}")
    return Text("\n".join(lines) or "none")


def kind_of(c: Candidate) -> str:
    """The group of reasons a rejected candidate belongs to."""
    if c.refused:
        return "refused by the compiler"
    if c.too_big or "shared memory" in c.rejected:
        return "too much shared memory"
    if "spill" in c.rejected:
        return "too many registers"
    return "shape that wastes warps or stages"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Grid:
    return grid(heads, rows, ("value", "formula", "bound by"))


def _interpreter(program: Program, plan: Plan, target: Target) -> Text:
    lines = [f"Plan of {program.name} on {target.name} ({target.description})"]
    for k, p in zip(program.kernels, plan.kernels, strict=True):
        sides = ", ".join(f"{n} {s}" for n, s in p.sides)
        lines.append(f"kernel {k.name}: {sides}")
    rule = target.numbers["working_set"]
    lines.append(f"rule: {target.sources[target.numbers['side_max'].source]} ({show_size(int(rule.value))})")
    return Text("\n".join(lines))
