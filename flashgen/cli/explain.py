"""``flashgen explain``: the plan of a spec on a GPU, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from flashgen.errors import PlanError

from .console import out, progress
from .derivatives import derivative_lines
from .given import Backward, Dtype, Schedule, Spec, Sram, algorithm, given


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
    hq, hkv = _heads(heads, (known.heads.q, known.heads.kv) if known.heads else (16, 16))
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


def _heads(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return default
    parts = text.split("/")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 1 << 20 for p in parts):
        raise PlanError(f"--heads {text!r}: write 32 or 32/8")
    hq, hkv = int(parts[0]), int(parts[-1])
    if hq % hkv:
        raise PlanError(f"--heads {text}: {hq} query heads are no multiple of {hkv} key heads")
    return hq, hkv
