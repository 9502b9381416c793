"""``flashgen targets``: the GPUs that can be planned for, their main numbers, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out, wide


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[TARGET]...", help="Names, or target files of your own, checked too."),
    ] = None,
) -> None:
    """List the targets: main numbers, what is missing, and which prediction that disables."""
    from flashgen.plan.compare import targets_table
    from flashgen.plan.target import load_target, read_target, target_names
    from flashgen.resources import folder

    own = folder("specs") / "targets"
    names = target_names()
    paths = [own / f"{f}.yaml" if str(f) in names else f for f in files or map(Path, names)]
    targets = [
        read_target(path, partial=True) if path.suffix in (".yaml", ".yml") else load_target(str(path))
        for path in paths
    ]
    wide(targets_table(targets))
    for t in targets:
        for name, what in t.missing().items():
            out().print(f"{t.name}: no {name}, so no {what}", markup=False)
    for t in targets:
        if t.note:
            out().print(f"{t.name}: {t.note}", markup=False)
