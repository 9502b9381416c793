"""The command line. A command is a file of this folder with a function ``command``, and a line below.

Command files import what is heavy (torch, triton) inside the function, so that ``flashgen check``
starts at once. A ``FlashgenError`` is printed with its places and ends with its status, 3 where something
is missing here and 1 otherwise; whatever else is raised is a bug in flashgen, and its traceback is shown.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import typer

from flashgen import __version__
from flashgen.errors import FlashgenError

from .console import print_error
from .streams import told_once

#: In the order of the help.
COMMANDS = (
    "new",
    "check",
    "list",
    "schema",
    "verify",
    "build",
    "explain",
    "targets",
    "compare-targets",
    "resources",
    "explore",
    "paper",
    "tune",
    "calibrate",
    "demo",
    "generate",
    "bench",
)

app = typer.Typer(
    name="flashgen",
    help="From a declarative attention spec to a readable, verified GPU kernel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flashgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def reports_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with a user's errors printed instead of raised."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except FlashgenError as error:
            print_error(error)
            raise typer.Exit(error.status) from None

    return run


for _name in COMMANDS:
    _command = importlib.import_module(f"flashgen.cli.{_name.replace('-', '_')}").command
    app.command(_name)(reports_errors(_command))


def main() -> None:
    """The entry point of ``flashgen`` and ``python -m flashgen``."""
    with told_once():
        app(prog_name="flashgen")
