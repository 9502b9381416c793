"""The level between a ``Program`` and a backend's text: one kernel as lines of nodes.

A line assigns (``Assign``), acts on memory (``Act``) or loops (``For``). What it computes is an expression or
a ``Node`` of the backend, a frozen dataclass of its own. Names stand in both as ``Var`` or ``Tile``, never as
text, so what a line reads follows from its nodes: dead code, arguments and names need no look at a text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from flashgen.expr.nodes import Const, Expr, Read, Var
from flashgen.ir.program import Tile
from flashgen.ir.verify import require


@dataclass(frozen=True)
class Node:
    """What a backend has a form of its own for. A str in it is never a name."""


@dataclass(frozen=True)
class Assign:
    """``dst = value``, without other effects; a scalar is a tile without axes.

    ``inside``: assignments that are not lines but stand in ``value`` where their name does. ``gap``: an
    empty line before. ``moves``: it belongs before every loop that leaves it alone (``passes.hoisting``).
    """

    dst: Tile
    value: Expr | Node
    note: str = ""
    gap: bool = False
    moves: bool = False
    inside: tuple[Assign, ...] = ()

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names that it reads."""
        within = {a.dst.name for a in self.inside}
        return (frozenset(names_in(self.value)) - within).union(*(a.uses for a in self.inside))


@dataclass(frozen=True)
class Act:
    """What changes memory, or waits for such a change."""

    node: Node
    note: str = ""

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names that it reads."""
        return frozenset(names_in(self.node))


@dataclass(frozen=True)
class For:
    """``for var in [lo, hi): body``. ``before``: assignments that the bounds take."""

    var: Var
    lo: Expr
    hi: Expr
    body: tuple[Line, ...]
    note: str = ""
    before: tuple[Assign, ...] = ()

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names that its bounds read."""
        return needs(self.before) | (set(names_in((self.lo, self.hi))) - {a.dst.name for a in self.before})


Line: TypeAlias = Assign | Act | For


def names_in(x: Any) -> list[str]:
    """The names in a node, an expression or a line, in the order of its fields."""
    found: list[str] = []
    _collect(x, found)
    return found


def _collect(x: Any, found: list[str]) -> None:
    if isinstance(x, Var | Tile):
        found.append(x.name)
    elif isinstance(x, tuple):
        for part in x:
            _collect(part, found)
    else:
        require(not isinstance(x, Read), "an input is read outside a load")
        for name in getattr(x, "__dataclass_fields__", ()):  # none of what is no node
            _collect(getattr(x, name), found)


def needs(lines: Sequence[Line]) -> frozenset[str]:
    """The names that ``lines`` read before they assign them, also those that a loop's next pass reads."""
    found, made = set[str](), set[str]()
    for line in lines:
        read = set(line.uses)
        if isinstance(line, For):
            read |= needs(line.body) - {line.var.name}
        found |= read - made
        if isinstance(line, Assign):
            made.add(line.dst.name)
    return frozenset(found)


def walk(lines: Sequence[Line]) -> Iterator[Line]:
    """Every line, those of loops after their head."""
    for line in lines:
        yield line
        if isinstance(line, For):
            yield from walk(line.body)


def named(x: Any, name: Callable[[str], str]) -> Any:
    """``x`` with every name in it replaced."""
    if isinstance(x, tuple):
        return tuple(named(part, name) for part in x)
    if isinstance(x, Var | Tile):
        return replace(x, name=name(x.name))
    if not is_dataclass(x) or isinstance(x, type | Const):
        return x
    return replace(x, **{f.name: named(getattr(x, f.name), name) for f in fields(x)})


def verify(lines: Sequence[Line], known: Collection[str]) -> set[str]:
    """Raise ``InvalidIR`` unless every name is ``known``, or assigned before it is read; the names that there
    are at the end."""
    names = set(known)
    for line in lines:
        missing = line.uses - names
        require(not missing, f"{', '.join(sorted(missing))}: read before it is assigned")
        if isinstance(line, For):
            verify(line.body, verify(line.before, names) | {line.var.name})
        elif isinstance(line, Assign):
            read = names_in(line.value)
            once = all(read.count(a.dst.name) == 1 for a in line.inside)
            require(once, f"{line.dst.name}: what stands inside it is read once")
            names.add(line.dst.name)
    return names
