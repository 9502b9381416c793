"""Parts of expressions that occur more than once get a name, so that text stays short and work is done
once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from .nodes import Call, Expr, Type, Var, children, substitute, walk, with_children

#: Operators a part must hold to deserve a name of its own.
LEAST = 2
Parts = list[tuple[str, Expr]]


def share(
    values: Sequence[Expr],
    name: str,
    worth: Callable[[Expr], bool] = lambda e: operators(e) >= LEAST,
) -> tuple[Parts, tuple[Expr, ...]]:
    """(named parts in the order in which they are needed, ``values`` in terms of them).

    A part is named where it occurs twice and is ``worth`` it.
    """
    parts: list[tuple[str, Expr]] = []
    found = tuple(values)
    while True:
        everything = (*(p for _, p in parts), *found)
        counts = Counter(n for e in everything for n in walk(e) if isinstance(n, Call))
        repeated = [n for n, times in counts.items() if times > 1 and worth(n)]
        if not repeated:
            return _numbered(parts, found, name)
        part = max(repeated, key=operators)
        var = Var(f"{name}_{len(parts)}", part.type)
        found = tuple(_replaced(v, part, var) for v in found)
        parts = [(n, _replaced(e, part, var)) for n, e in parts]
        users = [i for i, (_, e) in enumerate(parts) if var in set(walk(e))]
        parts.insert(min(users, default=len(parts)), (var.name, part))


def _numbered(parts: Parts, values: tuple[Expr, ...], name: str) -> tuple[Parts, tuple[Expr, ...]]:
    """The same with names that count in reading order."""
    types: dict[str, Type] = {old: e.type for old, e in parts}
    new = {old: Var(f"{name}_part{i + 1}", types[old]) for i, (old, _) in enumerate(parts)}
    numbered = [(new[old].name, substitute(e, new)) for old, e in parts]
    return numbered, tuple(substitute(v, new) for v in values)


def operators(e: Expr) -> int:
    """How many operators ``e`` holds."""
    return sum(isinstance(n, Call) for n in walk(e))


def _replaced(e: Expr, old: Expr, new: Expr) -> Expr:
    if e == old:
        return new
    return with_children(e, tuple(_replaced(c, old, new) for c in children(e)))
