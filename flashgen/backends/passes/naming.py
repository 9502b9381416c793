"""Lines -> lines with final names: what was invented gives way to what was not (``ir/names``)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flashgen.backends.listing import Line, named, names_in
from flashgen.ir import names


def settled(
    lines: Sequence[Line], also: Sequence[str], taken: Collection[str]
) -> tuple[tuple[Line, ...], dict[str, str]]:
    """``lines`` with plain names, and what each invented one is called now; ``also`` are names beside them,
    ``taken`` what a language uses itself."""
    table = names.settle([*also, *names_in(tuple(lines))], taken)
    final: tuple[Line, ...] = named(tuple(lines), lambda name: table.get(name, name))
    return final, table
