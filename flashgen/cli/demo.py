"""``flashgen demo``: the main job on a spec of the gallery, in under two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out as stdout
from .console import progress
from .files import writable


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the kernel")] = Path("out/demo"),
) -> None:
    """Take a spec of the gallery, explain its plan, write its kernel, run it, and show its errors."""
    from flashgen.demo.main import demo

    writable(out / "kernel.py")
    if not demo(out, stdout(), progress):
        raise typer.Exit(1)
