"""``flashgen build``: the kernel of a spec as files, confirmed by the compiler for its target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashgen.errors import FlashgenError, PlanError

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

if TYPE_CHECKING:
    from flashgen.ir.program import Program
    from flashgen.plan.plan import Plan
    from flashgen.plan.search import Candidate
    from flashgen.plan.target import Target


def command(
    spec: Spec,
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU to build for.")] = "h100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write to; default out/NAME.")
    ] = None,
    seqlen: Seqlen = 8192,
    seqlen_q: SeqlenQ = None,
    batch: Batch = 4,
    heads: Heads = None,
    dtype: Dtype = None,
    sram: Sram = None,
    confirm: Annotated[
        bool, typer.Option("--confirm/--no-confirm", help="Compile candidates for the target.")
    ] = True,
    schedule: Schedule = None,
    backward: Backward = False,
) -> None:
    """Write kernel.py and manifest.json; compiles for the target, which need not be here.

    The files of a schedule other than flash2 have its name: kernel_backward.py, manifest_backward.json.
    """
    from flashgen.driver import emit_source, lower_spec
    from flashgen.plan.call import capacity_notes
    from flashgen.plan.search import choose

    known, gpu, chosen = given(spec, target, dtype, sram)
    if gpu.backend == "interpreter":
        raise PlanError(
            f"{gpu.name} runs the program itself and has no kernel; build for a GPU, such as h100"
        )
    work = workload(known, seqlen, seqlen_q, batch, heads)
    chosen_schedule = algorithm(schedule, backward)
    lowered = lower_spec(known, chosen_schedule)
    suffix = "" if chosen_schedule == "flash2" else f"_{chosen_schedule}"
    if confirm:
        from flashgen.plan.confirm import proved, rankings

        with progress(f"compiling candidates for {gpu.name}") as tell:
            emit = partial(emit_source, lowered)
            ranked = rankings(lowered.program, gpu, chosen, work, emit, tell=tell)
        plan = proved(lowered.program, gpu, chosen, work, ranked)
    else:
        ranked = []
        plan = choose(lowered.program, gpu, chosen, work)
    source = emit_source(lowered, plan)
    folder = output or Path("out") / known.name
    manifest = json.dumps(source.manifest, indent=2, sort_keys=True) + "\n"
    texts = {f"kernel{suffix}.py": source.text, f"manifest{suffix}.json": manifest}
    write(folder, texts)
    for line in said(lowered.program, plan, gpu, ranked):
        out().print(line, markup=False)
    for note in gpu.notes() + capacity_notes(lowered.program, gpu, chosen, work):
        out().print(f"note: {note}", markup=False)
    for name in texts:
        out().print(f"wrote {folder / name}", markup=False)


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into ``folder``, which is made where it is missing. Raises ``FlashgenError``."""
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None


def said(
    program: Program, plan: Plan, target: Target, ranked: Sequence[Sequence[Candidate]] = ()
) -> list[str]:
    """The plan of each kernel, with the compiler's numbers where it was asked, and what those overruled in
    each kernel's ``ranked`` candidates."""
    from flashgen.plan.call import call_text
    from flashgen.plan.facts import facts
    from flashgen.plan.overruled import overruled
    from flashgen.plan.resources import tiling
    from flashgen.plan.size import show_size
    from flashgen.plan.smem import smem_bytes

    exist = show_size(target.smem_bytes)
    w = plan.workload
    lines = [f"{target.description}, {plan.dtype}, schedule {plan.schedule}"]
    if w is not None:
        lines[0] += f", planned for {call_text(program, w)}"
    for i, (f, kernel) in enumerate(zip(facts(program), plan.kernels, strict=True)):
        line = f"  {f.kernel.name}: {kernel}: "
        if plan.compiled is not None:
            m = plan.compiled[i]
            line += f"{show_size(m.smem_bytes)} of {exist} of shared memory a block, "
            line += f"{m.registers} registers and {m.spill_bytes} B of spills a thread"
        else:
            smem = show_size(smem_bytes(tiling(f, kernel, plan.dtype, target)))
            line += f"{smem} of {exist} of shared memory a block predicted, not compiled"
        lines.append(line)
        if ranked and w is not None:
            other = overruled(program, i, target, plan.dtype, w, ranked[i])
            lines += [f"    {other}"] if other else []
    return lines
