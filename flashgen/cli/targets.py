"""``flashgen targets``: the GPUs that can be planned for, their main numbers, and what is missing."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from flashgen.grid import Prose

from .console import wide


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET]...", help="Names, or target files of your own, checked too."),
    ] = None,
) -> None:
    """List the targets: main numbers, what is missing, and which prediction that disables."""
    from flashgen.explain.compare import targets_table
    from flashgen.targets.target import load_target, target_names

    targets = [load_target(name, partial=True) for name in names or target_names()]
    wide(targets_table(targets))
    for t in targets:
        for name, what in t.missing().items():
            wide(Prose(Text(f"{t.name}: no {name}, so no {what}")))
    for t in targets:
        if t.note:
            wide(Prose(Text(f"{t.name}: {t.note}")))
