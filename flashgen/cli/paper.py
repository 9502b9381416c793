"""``flashgen paper``: the papers' tables and curves, counted, as one page and CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import bar, out
from .files import writable, write


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "out/paper"
    ),
) -> None:
    """Reproduce the tables and curves of the FlashAttention papers: paper.html and a CSV file a table.

    Bytes and FLOPs are counted, times predicted; where there is a CUDA device they are measured too."""
    from flashgen.paper.main import FIGURES, figure
    from flashgen.paper.measured import clock_at_hand
    from flashgen.paper.page import files
    from flashgen.paper.tables import Section

    writable(output / "paper.html")
    clock = clock_at_hand()
    with bar() as tell:

        def all_of_them(what: str) -> list[Section]:
            made = []
            for number, name in enumerate(FIGURES, 1):
                made.append(FIGURES[name](clock) if clock else figure(name))
                tell(what, number, len(FIGURES))
            return made

        sections = all_of_them("counting")
        if clock:  # it knows now what to compile
            clock.compile(tell)
            sections = all_of_them("measuring")
    console = out()
    for s in sections:
        console.print(f"{s.title}:\n  {s.found}", markup=False)
    if not clock:
        console.print("Times: predictions only; there is no known CUDA device to measure on.", markup=False)
    made = files(sections)
    write(output, made)
    for name in made:
        console.print(f"wrote {output / name}", markup=False)
