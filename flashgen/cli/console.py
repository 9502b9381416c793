"""Printing for all commands: results on stdout, errors on stderr with the line they mean."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.status import Status
from rich.text import Text

from flashgen.errors import FlashgenError, Place, SpecError
from flashgen.grid import Grid, Prose

#: Columns of a wide table where the output is no terminal.
WIDTH = 140
#: Seconds between two lines about how far work is, where stderr is no terminal.
EVERY_S = 10.0
#: Calls after which the time left is estimated: the first of them may compile.
FIRST_CALLS = 3


def out() -> Console:
    """Standard output. Made anew, so that a redirected stream is the one written to."""
    return Console(highlight=False, soft_wrap=True)


def wide(table: Grid | Prose) -> None:
    """Print a table, or words beside it: as wide as a terminal is, or as COLUMNS says, or else ``WIDTH``."""
    known = out().is_terminal or "COLUMNS" in os.environ
    Console(highlight=False, width=None if known else WIDTH).print(table, crop=False)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress(what: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A line on stderr while work goes on, changed by what is given; once, where stderr is no terminal, or
    not at all where work of a few seconds is ``quiet``."""
    console = err()
    if not console.is_terminal:
        if not quiet:
            console.print(f"{what} ...", markup=False)
        yield lambda line: None
        return
    with console.status(Text(what)) as status:
        yield lambda line: status.update(Text(f"{what}: {line}"))


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], object]]:
    """A progress bar on stderr for work in parts, each told as (what, done, of); where stderr is no
    terminal, a line at each tenth."""
    console = err()
    if not console.is_terminal:
        told: dict[str, int] = {}

        def line(what: str, done: int, of: int) -> None:
            tenth = 10 * done // max(of, 1)
            if told.setdefault(what, -1) < tenth:
                told[what] = tenth
                console.print(f"{what}: {done} of {of}", markup=False)

        yield line
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console
    ) as shown:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=of)
            shown.update(tasks[what], completed=done, total=of)

        yield advance


@contextmanager
def calls(what: str, total: int) -> Iterator[Callable[[], None]]:
    """What to call before each of ``total`` calls of a kernel: tells on stderr how far they are and how long
    they will still take, all the time on a terminal and now and then where stderr is none. Calls beyond
    ``total`` are those that make a failure smaller."""
    console = err()
    start = told = time.monotonic()
    done = -1
    status: Status | None = None

    def line() -> str:
        if done >= total:
            return f"{what}: failed; shrinking, call {done + 1}"
        left = (time.monotonic() - start) / max(done, 1) * (total - done)
        guess = f", about {_span(left)} left" if done >= FIRST_CALLS else ""
        return f"{what}: call {done + 1} of {total}{guess}"

    def tell() -> None:
        nonlocal done, told
        done += 1
        if status is not None:
            status.update(Text(line()))
        elif time.monotonic() - told >= EVERY_S:
            console.print(line(), markup=False)
            told = time.monotonic()

    if console.is_terminal:
        with console.status(Text(what)) as status:
            yield tell
        return
    yield tell


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def print_error(error: FlashgenError) -> None:
    """Print ``error`` on stderr; each problem of a spec with the line of the file that it means."""
    console = err()
    if not isinstance(error, SpecError):
        console.print(Text.assemble(("error: ", "bold red"), str(error)))
        return
    for place, said in error.problems:
        spot = f"{place}: " if str(place) else ""
        console.print(Text.assemble((spot, "bold"), ("error: ", "bold red"), said))
        if excerpt := _excerpt(place):
            console.print(Text(excerpt, style="dim"))


def _excerpt(place: Place) -> str:
    """The line ``place`` names, with a caret under its column; empty where there is none to show."""
    if place.file is None or place.line is None or place.column is None:
        return ""
    try:
        lines = Path(place.file).read_text(encoding="utf-8-sig").split("\n")
        line = lines[place.line - 1].rstrip("\r")
    except (OSError, ValueError, IndexError):
        return ""
    if len(line) > 200 or not line.strip() or not line.replace("\t", " ").isprintable():
        return ""
    number = str(place.line)
    below = "".join("\t" if c == "\t" else " " for c in line[: place.column - 1])
    return f"  {number} | {line}\n  {' ' * len(number)} | {below}^"
