"""Lines -> lines: a value that is read once, soon after, stands where it is read (``Assign.inside``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from flashgen.backends.listing import Act, Assign, For, Line, names_in, needs
from flashgen.backends.listing import walk as every

Choice: TypeAlias = Callable[[Assign], bool]


def inlined(
    lines: Sequence[Line], fits: Choice, holds: Choice, after: frozenset[str] = frozenset()
) -> tuple[Line, ...]:
    """``lines`` with assignments that ``fits`` chooses inside the only line that reads them, where ``holds``
    chooses that one and every line between. The names ``after`` are read behind ``lines``."""
    out = list(lines)
    for i in reversed(range(len(out))):
        line, rest = out[i], out[i + 1 :]
        if isinstance(line, For):
            later = after | needs(rest) | needs(line.body)
            out[i] = replace(line, body=inlined(line.body, fits, holds, later))
        elif isinstance(line, Assign) and fits(line) and line.dst.name not in after:
            at = _reader(line, rest, holds)
            if at is not None and isinstance(reader := rest[at], Assign):
                out[i:] = rest
                out[i + at] = replace(reader, inside=(line, *reader.inside))
    return tuple(out)


def _reader(line: Assign, rest: Sequence[Line], holds: Choice) -> int | None:
    """Where in ``rest`` the only line is that reads ``line``, if it may stand there."""
    name = line.dst.name
    if sum(n == name for r in every(rest) for n in _read(r)) != 1:
        return None
    for i, r in enumerate(rest):
        if not isinstance(r, Assign) or not holds(r):
            return None
        if name in r.uses:
            return i
        if r.dst.name in line.uses:
            return None
    return None


def _read(line: Line) -> list[str]:
    match line:
        case Assign():
            return [n for a in (line, *line.inside) for n in names_in(a.value)]
        case Act():
            return names_in(line.node)
        case For():
            return names_in((line.lo, line.hi))
