"""``flashgen paper``: the papers' tables and curves, counted, as one page and CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .build import write
from .console import out, progress


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "out/paper"
    ),
) -> None:
    """Reproduce the tables and curves of the FlashAttention papers: paper.html and a CSV file a table.

    Bytes and FLOPs are counted, times predicted; where there is a CUDA device they are measured too."""
    from flashgen.paper.main import FIGURES, figure
    from flashgen.paper.measured import device
    from flashgen.paper.page import files

    sections = []
    with progress("counting") as tell:
        for name in FIGURES:
            tell(name)
            sections.append(figure(name, bool(device())))
    console = out()
    for s in sections:
        console.print(f"{s.title}:\n  {s.found}", markup=False)
    if not device():
        console.print("Times: predictions only; there is no CUDA device to measure on.", markup=False)
    made = files(sections)
    write(output, made)
    for name in made:
        console.print(f"wrote {output / name}", markup=False)
