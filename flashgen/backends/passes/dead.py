"""Lines -> lines: assignments whose value nothing uses are not there. Liveness, backwards through loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashgen.backends.listing import Assign, For, Line


def needed(lines: Sequence[Line]) -> tuple[Line, ...]:
    """``lines`` without what nothing stored rests on, and without loops of nothing."""
    return _live(lines, set())[0]


def _live(lines: Sequence[Line], after: set[str]) -> tuple[tuple[Line, ...], set[str]]:
    """(what is kept of ``lines``, the names they need) when the names ``after`` are used later on."""
    kept: list[Line] = []
    live = set(after)
    for line in reversed(lines):
        if isinstance(line, For):
            needs = set[str]()
            while True:  # what a pass needs, the pass before must leave
                inside, more = _live(line.body, live | needs)
                if more <= live | needs:
                    break
                needs |= more
            if not inside:
                continue
            line = replace(line, body=inside)
            live |= needs
        elif isinstance(line, Assign):
            if line.dst.name not in live:
                continue
            live.discard(line.dst.name)
        kept.append(line)
        live |= line.uses
    return tuple(reversed(kept)), live
