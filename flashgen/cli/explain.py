"""``flashgen explain``: the plan of a spec on a GPU, and why."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from flashgen.explain.derivatives import derivative_lines

from .console import out, progress
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
    given,
    workload,
)


def command(
    spec: Spec,
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU, or cpu.")] = "h100",
    seqlen: Seqlen = 8192,
    seqlen_q: SeqlenQ = None,
    batch: Batch = 4,
    heads: Heads = None,
    dtype: Dtype = None,
    sram: Sram = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Compile the best candidates, as build does.")
    ] = False,
    schedule: Schedule = None,
    backward: Backward = False,
) -> None:
    """Explain the plan: the choice, what limits it, the formulas, what was rejected; of a backward the
    derivatives too."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.explain.words import explain
    from flashgen.plan.select import rankings

    known, gpu, kind = given(spec, target, dtype, sram)
    work = workload(known, seqlen, seqlen_q, batch, heads)
    lowered = lower_spec(known, algorithm(schedule, backward))
    ranked = None
    if confirm and gpu.gpu:
        with progress(f"compiling candidates for {gpu.name}") as tell:
            emit = partial(emit_source, lowered)
            ranked = rankings(lowered.program, gpu, kind, work, emit, tell=tell)
    derivatives = derivative_lines(known) if "backward" in lowered.program.schedule else ()
    with progress(f"planning for {gpu.name}", quiet=True):
        said = explain(lowered.program, gpu, kind, work, ranked, derivatives)
    # Words are wrapped at the console's width, as its tables are.
    out().print(said, soft_wrap=False, crop=False)
