"""Standard output that ends early (a full disk, a closed pipe, none at all): no traceback, but one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class OutputEnded(Exception):
    """Standard output takes nothing more, for this reason."""


class Output(io.TextIOWrapper):
    """Standard output whose own failures can be told from those of other files.

    A reader that went away is left to those who write: they know what to do about it.
    """

    def write(self, text: str) -> int:
        """As a stream does. Raises ``OutputEnded``."""
        try:
            return super().write(text)
        except OSError as error:
            _ended(error)

    def flush(self) -> None:
        """As a stream does. Raises ``OutputEnded``."""
        try:
            super().flush()
        except OSError as error:
            _ended(error)


def _ended(error: OSError) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        raise error
    raise OutputEnded(error.strerror) from error


@contextmanager
def told_once() -> Iterator[None]:
    """Run a command; where standard output takes nothing more, say so on stderr and exit with status 1.

    A reader that went away, as ``| head -1`` does, wants to hear nothing.
    """
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        sys.stdout = Output(old.buffer, old.encoding, old.errors, None, old.line_buffering, old.write_through)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (OutputEnded, BrokenPipeError) as error:
        # Python would try to write what is left once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), old.fileno())
        if isinstance(error, OutputEnded):
            print(f"error: standard output cannot be written: {error}", file=sys.stderr)
        sys.exit(1)
