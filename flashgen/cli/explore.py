"""``flashgen explore``: one page on what SRAM and tiles do to a spec on a GPU, and pictures of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

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


def command(
    spec: Spec,
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU.")] = "h100",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page to write; default out/NAME/explore.html."),
    ] = None,
    seqlen: Seqlen = 8192,
    seqlen_q: SeqlenQ = None,
    batch: Batch = 4,
    heads: Heads = None,
    dtype: Dtype = None,
    sram: Sram = None,
    schedule: Schedule = None,
    backward: Backward = False,
    confirm: Annotated[
        bool, typer.Option("--compile", help="Compile the best candidates at the stated SRAM.")
    ] = False,
    png: Annotated[Path | None, typer.Option("--png", help="Write the charts to this PNG file too.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the charts to this SVG file too.")] = None,
) -> None:
    """Write one page on SRAM and tiles: a slider, times, traffic, roofline, sources. It needs no network.

    What `flashgen tune` measured at the same sizes is shown too."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.explore.data import Question, page_data
    from flashgen.explore.page import page
    from flashgen.explore.pictures import draw
    from flashgen.plan.select import rankings
    from flashgen.runtime.tuned import file_name
    from flashgen.tune.timings import timings

    pictures = {end: file for end, file in (("png", png), ("svg", svg)) if file}
    for end, file in pictures.items():
        if file.suffix.lower() != f".{end}":
            raise PlanError(
                f"--{end} {file}: what is written is {end.upper()}, so name a file that ends in .{end}"
            )
    known, gpu, kind = given(spec, target, dtype, sram)
    if not gpu.gpu:
        raise PlanError(f"{gpu.name} has no SRAM to explore: name a GPU, such as h100")
    work = workload(known, seqlen, seqlen_q, batch, heads)
    path = output or Path("out") / known.name / "explore.html"
    writable(path, png, svg)
    lowered = lower_spec(known, algorithm(schedule, backward))
    asked = Question(lowered, gpu, kind, work)
    ranked = None
    if confirm:
        with progress(f"compiling candidates for {gpu.name}") as tell:
            ranked = rankings(lowered.program, gpu, kind, work, partial(emit_source, lowered), tell=tell)
    name = file_name(known.canonical_json(), lowered.program.schedule, kind, gpu.name, work)
    with progress("drawing") as tell:
        if pictures:
            draw(asked, pictures, ranked)
        write(path.parent, {path.name: page(page_data(asked, ranked, timings(name), tell))})
    for file in (path, *pictures.values()):
        out().print(f"wrote {file}", markup=False)
