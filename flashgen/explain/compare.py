"""GPUs side by side: their numbers, and the plan of one program on each, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from flashgen.errors import PlanError
from flashgen.grid import Cell, Grid, grid
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import blocks_per_sm, tiling
from flashgen.plan.plan import KernelPlan
from flashgen.plan.search import best_of_each, candidates, check_dtype
from flashgen.plan.select import Emit, rankings
from flashgen.size import show_size
from flashgen.targets.target import Target

from .call import call_text, capacity_notes

#: Columns of ``flashgen targets``: a number of the file, its heading, how it is shown.
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("sms", "SMs", lambda x: f"{x:,.0f}"),
    ("clock", "GHz", lambda x: f"{x:.2f}"),
    ("smem_per_block", "SRAM a block", lambda x: show_size(int(x))),
    ("smem_per_sm", "SRAM an SM", lambda x: show_size(int(x))),
    ("l2", "L2", lambda x: show_size(int(x))),
    ("hbm_rate", "DRAM GB/s", lambda x: f"{x:,.0f}"),
    ("hbm_capacity", "DRAM GB", lambda x: f"{x / 1e9:,.0f}"),
    ("fp16_rate", "fp16 TFLOP/s", lambda x: f"{x:,.0f}"),
    ("bf16_rate", "bf16 TFLOP/s", lambda x: f"{x:,.0f}"),
    ("fp32_rate", "fp32 TFLOP/s", lambda x: f"{x:,.0f}"),
)


@dataclass(frozen=True)
class Row:
    """One kernel of a program on one target, or why there is no plan.

    ``us`` is the predicted time, ``tflops`` that of its dots, ``smem`` bytes a block.
    """

    target: Target
    dtype: str
    kernel: str = ""
    plan: KernelPlan | None = None
    us: float = 0.0
    tflops: float = 0.0
    bound: str = ""
    smem: int = 0
    per_sm: int = 0
    limit: str = ""
    confirmed: bool = False
    refused: str = ""


def compare(
    program: Program, targets: Sequence[Target], dtypes: Sequence[str], workload: Workload,
    emit: Emit | None = None, tell: Callable[[str], object] = lambda line: None,
) -> list[Row]:  # fmt: skip
    """A row for each kernel of ``program`` on each target, with the first of ``dtypes`` that the target has.

    With ``emit`` the most promising candidates are compiled. What is refused is a row with its reason.
    """
    rows: list[Row] = []
    for g in targets:
        tell(g.name)
        dtype = next((d for d in dtypes if g.supports(d)), dtypes[0])
        try:
            rows += _on(program, g, dtype, workload, emit, lambda line, g=g: tell(f"{g.name}: {line}"))  # type: ignore[misc]
        except PlanError as e:
            rows.append(Row(g, dtype, refused=str(e)))
    return rows


def _on(
    program: Program, g: Target, dtype: str, w: Workload, emit: Emit | None, tell: Callable[[str], object]
) -> list[Row]:
    check_dtype(g, dtype)
    kernels = range(len(program.kernels))
    found = [candidates(program, i, g, dtype, w) for i in kernels]
    best_of_each(found, g, program)  # what fits nowhere is not compiled
    if emit is not None:
        found = rankings(program, g, dtype, w, emit, tell=tell)
    rows = []
    for f, c in zip(facts(program), best_of_each(found, g, program), strict=True):
        assert c.cost is not None
        t = tiling(f, c.plan, dtype, g)
        per_sm, limit = blocks_per_sm(t, c.smem_bytes, c.registers)
        tflops = c.cost.flops / max(c.cost.us, 1e-9) / 1e6
        rows.append(
            Row(g, dtype, f.kernel.name, c.plan, c.cost.us, tflops, c.cost.bound, c.smem_bytes,
                per_sm, limit, c.measured is not None)
        )  # fmt: skip
    return rows


def comparison(program: Program, rows: Sequence[Row], w: Workload) -> Grid:
    """The rows as a table; several kernels on one target end with the sum of their times. Below it, which
    targets have no memory for the call's tensors."""
    name, title = program.name, f"{program.name}: {call_text(program, w)}"
    heads = ("target", "dtype", "kernel", "plan", "us", "TFLOP/s", "bound by", "SRAM", "blocks/SM")
    cells: list[tuple[Cell, ...]] = []
    for i, r in enumerate(rows):
        if r.plan is None:
            cells.append((r.target.name, r.dtype, "", Text(f"refused: {r.refused}", style="yellow")))
            continue
        smem = f"{show_size(r.smem)} of {show_size(r.target.smem_bytes)}"
        where = f"{r.per_sm} ({r.limit})"
        kernel = r.kernel.removeprefix(f"{name}_")
        times = f"{r.us:,.0f}", f"{r.tflops:,.0f}"
        cells.append((r.target.name, r.dtype, kernel, r.plan.short(), *times, r.bound, smem, where))
        mine = [x for x in rows if x.target is r.target]
        if len(mine) > 1 and (i + 1 == len(rows) or rows[i + 1].target is not r.target):
            cells.append((r.target.name, r.dtype, "together", "", f"{sum(x.us for x in mine):,.0f}"))
    planned = [r for r in rows if r.plan is not None]
    notes = [f"note: {n}" for r in planned for n in capacity_notes(program, r.target, r.dtype, w)]
    gpus = {r.target.name: r.target for r in planned if r.target.gpu}
    if sheets := [name for name, g in gpus.items() if not g.calibrated]:
        notes.append(
            f"note: times on {', '.join(sheets)} follow from data sheets, no kernel was measured there"
        )
    words = ("dtype", "kernel", "plan", "bound by", "blocks/SM")
    return grid(heads, cells, words, title, "\n".join(dict.fromkeys(notes)), ("kernel",), 2)


def targets_table(targets: Sequence[Target]) -> Grid:
    """The main numbers of GPUs; a dash where a file lacks one."""
    rows = []
    for t in targets:
        shown = [show(t.number(n)) if n in t.numbers else "-" for n, _, show in COLUMNS]
        rows.append((t.name, t.arch, *shown, t.description))
    heads = ("target", "arch", *(heading for _, heading, _ in COLUMNS), "description")
    return grid(heads, rows, ("arch", "description"))
