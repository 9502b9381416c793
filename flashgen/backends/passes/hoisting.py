"""Lines -> lines: a part of an address that a loop leaves alone is computed before it.

Such parts are marked (``Assign.moves``). They leave every loop that assigns nothing they read, and stand
before what the loop's bounds take (``For.before``), which becomes lines of its own here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashgen.backends.listing import Assign, For, Line, Node, walk


def hoisted(lines: Sequence[Line]) -> tuple[Line, ...]:
    """``lines`` with loops of which nothing moves any further."""
    out: list[Line] = []
    for line in lines:
        if not isinstance(line, For):
            out.append(line)
            continue
        body = hoisted(line.body)
        changing = {line.var.name, *(a.dst.name for a in walk(body) if isinstance(a, Assign) and not a.moves)}
        leaving = [a for a in body if isinstance(a, Assign) and a.moves and not a.uses & changing]
        stay = tuple(a for a in body if not any(a is gone for gone in leaving))
        out += [*leaving, *line.before, replace(line, body=stay, before=())]
    return tuple(out)


def unrepeated(lines: Sequence[Line], known: dict[str, Line] | None = None) -> tuple[Line, ...]:
    """``lines`` without values of expressions that say again what their name holds."""
    held, out = dict(known or {}), list[Line]()
    for line in lines:
        if isinstance(line, For):
            changed = {a.dst.name for a in walk(line.body) if isinstance(a, Assign)} | {line.var.name}
            held = {n: a for n, a in held.items() if n not in changed and not a.uses & changed}
            line = replace(line, body=unrepeated(line.body, held))
        elif isinstance(line, Assign):
            name = line.dst.name
            if held.get(name) == line:
                continue
            held = {n: a for n, a in held.items() if n != name and name not in a.uses}
            held |= {} if isinstance(line.value, Node) else {name: line}
        out.append(line)
    return tuple(out)
