"""``flashgen compare-targets``: the plan of a spec on every GPU, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import progress, wide
from .given import (
    Backward,
    Batch,
    Dtype,
    Heads,
    Schedule,
    Seqlen,
    SeqlenQ,
    Spec,
    Sram,
    algorithm,
    workload,
)


def command(
    spec: Spec,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="Only these GPUs, or files of your own: h100,a100; default: all."
        ),
    ] = None,
    seqlen: Seqlen = 8192,
    seqlen_q: SeqlenQ = None,
    batch: Batch = 4,
    heads: Heads = None,
    dtype: Dtype = None,
    sram: Sram = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Compile the best candidates.")] = False,
    schedule: Schedule = None,
    backward: Backward = False,
) -> None:
    """Compare GPUs: the chosen tiles, predicted time, what limits it; refusals with their reason."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.explain.compare import compare, comparison
    from flashgen.size import parse_size
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find
    from flashgen.targets.target import load_target, target_names

    known = load_spec(find(spec))
    lowered = lower_spec(known, algorithm(schedule, backward))
    size = None if sram is None else parse_size(sram)
    names = [name for given in target or [] for name in given.split(",")]
    gpus = [g for g in map(load_target, names or target_names()) if g.backend == "triton"]
    gpus = [g.with_sram(size) for g in gpus]
    work = workload(known, seqlen, seqlen_q, batch, heads)
    dtypes = known.dtypes if dtype is None else [dtype]
    if confirm:
        with progress("compiling candidates") as tell:
            rows = compare(lowered.program, gpus, dtypes, work, lambda p: emit_source(lowered, p), tell)
    else:
        with progress("planning", quiet=True) as tell:
            rows = compare(lowered.program, gpus, dtypes, work, tell=tell)
    wide(comparison(lowered.program, rows, work))
