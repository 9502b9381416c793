"""Parts of an expression that occur more than once get a name, so that text stays short."""

from __future__ import annotations

from collections import Counter

from flashgen.expr.nodes import Call, Expr, Var, children, substitute, walk, with_children

#: Operators a part must hold to deserve a name of its own.
LEAST = 2


def share(value: Expr, name: str) -> tuple[list[tuple[str, Expr]], Expr]:
    """(named parts in the order in which they are needed, ``value`` in terms of them)."""
    parts: list[tuple[str, Expr]] = []
    while True:
        counts = Counter(n for e in (*(p for _, p in parts), value) for n in walk(e) if isinstance(n, Call))
        repeated = [n for n, times in counts.items() if times > 1 and _operators(n) >= LEAST]
        if not repeated:
            return _numbered(parts, value, name)
        part = max(repeated, key=_operators)
        var = Var(f"{name}_{len(parts)}", part.type)
        value = _replaced(value, part, var)
        parts = [(n, _replaced(e, part, var)) for n, e in parts]
        users = [i for i, (_, e) in enumerate(parts) if var in set(walk(e))]
        parts.insert(min(users, default=len(parts)), (var.name, part))


def _numbered(parts: list[tuple[str, Expr]], value: Expr, name: str) -> tuple[list[tuple[str, Expr]], Expr]:
    """The same with names that count in reading order."""
    new = {old: Var(f"{name}_part{i + 1}", e.type) for i, (old, e) in enumerate(parts)}
    return [(new[old].name, substitute(e, new)) for old, e in parts], substitute(value, new)


def _operators(e: Expr) -> int:
    return sum(isinstance(n, Call) for n in walk(e))


def _replaced(e: Expr, old: Expr, new: Expr) -> Expr:
    if e == old:
        return new
    return with_children(e, tuple(_replaced(c, old, new) for c in children(e)))
