"""``flashgen resources``: predicted shared memory, registers and spills beside the compiler's."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from flashgen.errors import FlashgenError, PlanError

from .console import out, progress, wide
from .files import writable, write


def command(
    specs: Annotated[
        list[str] | None, typer.Argument(metavar="[SPEC]...", help="Files or names; default: the gallery.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="The GPUs to compile for: a100,h100.")
    ] = "a100,h100",
    sample: Annotated[
        int,
        typer.Option(min=0, help="Candidates of each kernel, drawn evenly; 0: all that the planner keeps."),
    ] = 4,
    schedule: Annotated[str, typer.Option(help="Which programs: flash2,backward.")] = "flash2,backward",
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Only this dtype; default: each spec's first.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Compilers at a time.")] = os.cpu_count()
    or 1,
    seconds: Annotated[float, typer.Option(help="Start no new compiler after this many seconds.")] = 3600.0,
    by: Annotated[str, typer.Option(help="A row for each kernel, spec or schedule.")] = "schedule",
    output: Annotated[
        Path | None, typer.Option("--out", help="Folder for resources.csv (everything) and resources.md.")
    ] = None,
) -> None:
    """Compare predicted shared memory, registers and spills with the compiler's.

    Candidates are compiled for their targets in processes of their own; what the compiler said is kept, so
    that a second run goes on where the first ended.
    """
    from flashgen.bench.usage import measure, work
    from flashgen.bench.usage_tables import GROUPS, csv_text, markdown, table
    from flashgen.driver import SCHEDULES
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find, gallery
    from flashgen.targets.target import load_target

    writable(None if output is None else output / "resources.csv")
    wanted = tuple(schedule.split(","))
    for word, known in [(by, tuple(GROUPS)), *((s, tuple(SCHEDULES)) for s in wanted)]:
        if word not in known:
            raise FlashgenError(f"{word!r} is none of {', '.join(known)}")
    targets = [load_target(name) for name in target.split(",")]
    for t in targets:
        if t.backend != "triton":
            raise PlanError(f"{t.name} has no compiler: its kernels are interpreted; name GPUs")
    known_specs = [load_spec(find(name)) for name in specs or gallery()]
    waiting = list(work(known_specs, targets, wanted, sample, dtype))
    until = time.monotonic() + seconds
    with progress(f"compiling {len(waiting):,} candidates") as tell:
        found = measure(waiting, jobs, until, lambda n: tell(f"{n:,} done"))
    wide(table(found, by))
    if len(found) < len(waiting):
        out().print(f"\n{len(waiting) - len(found):,} of {len(waiting):,} were not started in {seconds:g} s")
    if output is not None:
        write(output, {"resources.csv": csv_text(found), "resources.md": markdown(found, by)})
        out().print(f"wrote {output}/resources.csv and resources.md", markup=False)
