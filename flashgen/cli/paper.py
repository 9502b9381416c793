"""``flashgen paper``: the papers' tables and curves, counted, as one page and CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .build import write
from .console import bar, out


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "out/paper"
    ),
) -> None:
    """Reproduce the tables and curves of the FlashAttention papers: paper.html and a CSV file a table.

    Bytes and FLOPs are counted, times predicted; where there is a CUDA device they are measured too."""
    from flashgen.paper.main import FIGURES, figure, measured
    from flashgen.paper.measured import clock_at_hand
    from flashgen.paper.page import files

    clock = clock_at_hand()
    with bar() as tell:
        sections = []
        for number, name in enumerate(FIGURES, 1):
            sections.append(measured(name, clock) if clock else figure(name))
            tell("counting", number, len(FIGURES))
        if clock:
            clock.compile(tell)
            sections = []
            for number, name in enumerate(FIGURES, 1):
                sections.append(measured(name, clock))
                tell("measuring", number, len(FIGURES))
    console = out()
    for s in sections:
        console.print(f"{s.title}:\n  {s.found}", markup=False)
    if not clock:
        console.print("Times: predictions only; there is no known CUDA device to measure on.", markup=False)
    made = files(sections)
    write(output, made)
    for name in made:
        console.print(f"wrote {output / name}", markup=False)
