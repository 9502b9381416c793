"""Words for those who wait: a line on stderr once something takes longer than a moment."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: Seconds after which it is said what is under way.
AFTER_S = 1.0
#: Set in the environment, it keeps stderr empty.
QUIET = "FLASHGEN_QUIET"


@contextmanager
def said(lines: Sequence[str]) -> Iterator[None]:
    """Say ``lines`` on stderr if what is done inside takes longer than AFTER_S."""
    if os.environ.get(QUIET):
        yield
        return
    timer = threading.Timer(AFTER_S, _say, [lines])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(lines: Sequence[str]) -> None:
    print(*(f"flashgen: {line}" for line in lines), sep="\n", file=sys.stderr, flush=True)
