"""``flashgen schema``: the JSON Schema that editors complete and check specs with."""

from __future__ import annotations

from pathlib import Path

import typer

from flashgen.errors import FlashgenError
from flashgen.spec.schema import schema_text

from .console import out


def command(
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write to this file instead of standard output."
    ),
) -> None:
    """Print the JSON Schema of specs; the gallery's is written with -o specs/schema.json."""
    if output is None:
        typer.echo(schema_text(), nl=False)
        return
    try:
        output.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise FlashgenError(f"{output} cannot be written: {error.strerror}") from None
    out().print(f"wrote {output}", markup=False)
