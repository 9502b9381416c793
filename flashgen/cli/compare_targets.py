"""``flashgen compare-targets``: the plan of a spec on every GPU, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import progress, wide
from .given import Backward, Dtype, Schedule, Spec, Sram, algorithm, heads_of


def command(
    spec: Spec,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Only these GPUs, or files of your own; default: all."),
    ] = None,
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
    """Compare GPUs: the chosen tiles, predicted time, what limits it; refusals with their reason."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.plan.compare import compare, comparison
    from flashgen.plan.plan import Workload
    from flashgen.plan.size import parse_size
    from flashgen.plan.target import load_target, target_names
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find

    known = load_spec(find(spec))
    lowered = lower_spec(known, algorithm(schedule, backward))
    size = None if sram is None else parse_size(sram)
    gpus = [g for g in map(load_target, target or target_names()) if g.backend == "triton"]
    gpus = [g.with_sram(size) for g in gpus]
    hq, hkv = heads_of(heads, known)
    work = Workload(batch, hq, hkv, seqlen_q or seqlen, seqlen)
    dtypes = known.dtypes if dtype is None else [dtype]
    if confirm:
        with progress("compiling candidates") as tell:
            rows = compare(lowered.program, gpus, dtypes, work, lambda p: emit_source(lowered, p), tell)
    else:
        rows = compare(lowered.program, gpus, dtypes, work)
    wide(comparison(lowered.program.name, rows, work))
