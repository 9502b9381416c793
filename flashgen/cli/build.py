"""``flashgen build``: the kernel of a spec as files, confirmed by the compiler for its target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashgen.errors import PlanError

from .console import out, progress
from .files import writable, write
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
    from flashgen.driver import Lowered
    from flashgen.ir.program import Program
    from flashgen.ir.workload import Workload
    from flashgen.plan.plan import Plan
    from flashgen.plan.search import Candidate
    from flashgen.spec.model import AttentionSpec
    from flashgen.targets.target import Target


def command(
    spec: Spec,
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU to build for.")] = "h100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write to; default out/NAME/TARGET.")
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
    interpretable: Annotated[
        bool,
        typer.Option("--interpretable", help="Write a twin that Triton's interpreter runs, without a GPU."),
    ] = False,
) -> None:
    """Write kernel.py and manifest.json; compiles for the target, which need not be here.

    kernel.py holds the forward and, where the spec trains, the backward, as one differentiable function
    `attention`. With --schedule or --backward it holds that schedule alone, whose name its files have:
    kernel_backward.py, manifest_backward.json.
    """
    from flashgen.driver import emit_source, lower_spec, schedules_of
    from flashgen.explain.call import capacity_notes

    known, gpu, chosen = given(spec, target, dtype, sram)
    if not gpu.gpu:
        raise PlanError(
            f"{gpu.name} runs the program itself and has no kernel; build for a GPU, such as h100"
        )
    work = workload(known, seqlen, seqlen_q, batch, heads)
    one = algorithm(schedule, backward)
    names = schedules_of(known) if schedule is None and not backward else (one,)
    lowered = [lower_spec(known, name) for name in names]
    suffix = "" if one == "flash2" else f"_{one}"
    files = [f"kernel{suffix}.py", f"manifest{suffix}.json"]
    files += [f"kernel{suffix}_interpretable.py"] if interpretable else []
    folder = output or Path("out") / known.name / gpu.name
    writable(*(folder / name for name in files))
    parts = [(low, *_planned(low, gpu, chosen, work, confirm)) for low in lowered]
    planned = [(low, plan) for low, plan, _ in parts]
    source = emit_source(*planned[0], *planned[1:])
    texts = [source.text, json.dumps(source.manifest, indent=2, sort_keys=True) + "\n"]
    if interpretable:
        texts.append(emit_source(*planned[0], *planned[1:], interpretable=True).text)
    write(folder, dict(zip(files, texts, strict=True)))
    for low, plan, ranked in parts:
        for line in said(low.program, plan, gpu, ranked):
            out().print(line, markup=False)
    notes = [n for low in lowered for n in capacity_notes(low.program, gpu, chosen, work)]
    for note in dict.fromkeys(gpu.notes() + notes):
        out().print(f"note: {note}", markup=False)
    if confirm and sram is None:
        _kept(known, lowered, gpu, chosen, work)
    for name in files:
        out().print(f"wrote {folder / name}", markup=False)


def _kept(spec: AttentionSpec, lowered: Sequence[Lowered], gpu: Target, dtype: str, work: Workload) -> None:
    """Leave what was built where calls on such a GPU look, if it is one that they know."""
    from flashgen.runtime.ahead import for_target
    from flashgen.targets.target import load_target, target_names

    if gpu.name in target_names() and load_target(gpu.name) == gpu:
        for low in lowered:
            for_target(spec.canonical_json(), low.program.schedule, work, gpu.name, dtype)


def _planned(
    lowered: Lowered, gpu: Target, dtype: str, work: Workload, confirm: bool
) -> tuple[Plan, list[list[Candidate]]]:
    """The plan, and the candidates that the compiler saw."""
    from flashgen.driver import emit_source

    if not confirm:
        from flashgen.plan.backend import backend_of
        from flashgen.plan.cover import plan_for

        boxes = backend_of(gpu).boxes(lowered.program, dtype)
        return plan_for(lowered.program, gpu, dtype, work, boxes), []
    from flashgen.plan.select import proved, rankings

    what = "backward" if "backward" in lowered.program.schedule else "forward"
    with progress(f"compiling candidates of the {what} for {gpu.name}") as tell:
        emit = partial(emit_source, lowered)
        ranked = rankings(lowered.program, gpu, dtype, work, emit, tell=tell)
    return proved(lowered.program, gpu, dtype, work, ranked), ranked


def said(
    program: Program, plan: Plan, target: Target, ranked: Sequence[Sequence[Candidate]] = ()
) -> list[str]:
    """The plan of each kernel, with the compiler's numbers where it was asked, and what those overruled in
    each kernel's ``ranked`` candidates."""
    from flashgen.explain.call import call_text
    from flashgen.explain.overruled import overruled
    from flashgen.plan.backend import backend_of
    from flashgen.plan.model.facts import facts
    from flashgen.plan.model.tiling import tiling
    from flashgen.size import show_size

    exist = show_size(target.smem_bytes)
    w = plan.workload
    lines = [f"{plan.schedule}: {plan.predicted_us:,.1f} us predicted on {target.description}, {plan.dtype}"]
    if w is not None:
        lines[0] += f", for {call_text(program, w)}"
    for i, (f, kernel) in enumerate(zip(facts(program), plan.kernels, strict=True)):
        line = f"  {f.kernel.name}: {kernel}: "
        if plan.compiled is not None:
            m = plan.compiled[i]
            line += f"{show_size(m.smem_bytes)} of {exist} of shared memory a block, "
            line += f"{m.registers} registers and {m.spill_bytes} B of spills a thread"
        else:
            smem = show_size(backend_of(target).smem_bytes(tiling(f, kernel, plan.dtype, target)))
            line += f"{smem} of {exist} of shared memory a block predicted, not compiled"
        lines.append(line)
        if ranked and w is not None:
            other = overruled(program, i, target, plan.dtype, w, ranked[i])
            lines += [f"    {other}"] if other else []
    return lines
