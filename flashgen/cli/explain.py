"""``flashgen explain``: the plan of a spec on a GPU, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out, progress
from .derivatives import derivative_lines
from .given import Backward, Dtype, Schedule, Spec, Sram, algorithm, given, heads_of


def command(
    spec: Spec,
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU, or cpu.")] = "h100",
    seqlen: Annotated[int, typer.Option(min=1, help="Key length, and query length.")] = 8192,
    seqlen_q: Annotated[int | None, typer.Option(min=1, help="Query length.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 2,
    heads: Annotated[str | None, typer.Option(help="Query heads, or query/key heads: 32 or 32/8.")] = None,
    dtype: Dtype = None,
    sram: Sram = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Compile the best candidates.")] = False,
    schedule: Schedule = None,
    backward: Backward = False,
) -> None:
    """Explain the plan: the choice, what limits it, the formulas, what was rejected; of a backward the
    derivatives too."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.plan.confirm import ranking
    from flashgen.plan.explain import explain
    from flashgen.plan.plan import Workload

    known, gpu, kind = given(spec, target, dtype, sram)
    hq, hkv = heads_of(heads, known)
    work = Workload(batch, hq, hkv, seqlen_q or seqlen, seqlen)
    lowered = lower_spec(known, algorithm(schedule, backward))
    ranked = None
    if confirm and gpu.backend == "triton":
        kernels = range(len(lowered.program.kernels))
        with progress(f"compiling candidates for {gpu.name}") as tell:
            ranked = tuple(
                ranking(lowered.program, i, gpu, kind, work, lambda p: emit_source(lowered, p), tell=tell)
                for i in kernels
            )
    if "backward" in lowered.program.schedule:
        for line in derivative_lines(known):
            out().print(line, markup=False)
        out().print()
    # Words are wrapped at the console's width, as its tables are.
    out().print(explain(lowered.program, gpu, kind, work, ranked), soft_wrap=False)
