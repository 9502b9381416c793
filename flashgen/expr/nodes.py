"""Typed expression nodes: the one tree for scores, masks, indices, sizes and loop bounds.

A node is immutable and hashable. Three types exist: ``bool``, ``int`` and ``float``. Operators are
named; what a name means (text, value, interval, derivative) stands in one table, ``ops.OPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

Type: TypeAlias = Literal["bool", "int", "float"]


@dataclass(frozen=True, slots=True)
class Const:
    """A literal. ``type`` is kept beside the value because ``True == 1 == 1.0`` in Python."""

    value: bool | int | float
    type: Type


@dataclass(frozen=True, slots=True)
class Var:
    """A named value: a variable of the language, a scalar of a kernel, or a tile."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Read:
    """``input[index, ...]``: one element of a named input tensor."""

    name: str
    index: tuple[Expr, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Call:
    """An operator of the table applied to arguments."""

    op: str
    args: tuple[Expr, ...]
    type: Type


Expr: TypeAlias = Const | Var | Read | Call

TRUE = Const(True, "bool")
FALSE = Const(False, "bool")


def integer(value: int) -> Const:
    """The int literal ``value``."""
    return Const(int(value), "int")


def real(value: float) -> Const:
    """The float literal ``value``."""
    return Const(float(value), "float")


def children(e: Expr) -> tuple[Expr, ...]:
    """The direct subexpressions of ``e``."""
    if isinstance(e, Call):
        return e.args
    if isinstance(e, Read):
        return e.index
    return ()


def walk(e: Expr) -> Iterator[Expr]:
    """Every node of ``e``, parents first."""
    stack = [e]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def larger_than(e: Expr, most: int) -> bool:
    """Whether ``e`` has more than ``most`` nodes (counting no further)."""
    return next(islice(walk(e), most, None), None) is not None


def variables(e: Expr) -> set[str]:
    """Names of the variables in ``e`` (inputs are not variables: see ``reads``)."""
    return {n.name for n in walk(e) if isinstance(n, Var)}


def reads(e: Expr) -> list[Read]:
    """The input reads in ``e``, each once, in order of first use."""
    return list(dict.fromkeys(n for n in walk(e) if isinstance(n, Read)))


def with_children(e: Expr, new: tuple[Expr, ...]) -> Expr:
    """``e`` with its direct subexpressions replaced."""
    if isinstance(e, Call):
        return Call(e.op, new, e.type)
    if isinstance(e, Read):
        return Read(e.name, new, e.type)
    return e


def rewrite(e: Expr, rule: Callable[[Expr], Expr | None]) -> Expr:
    """``e`` rebuilt bottom-up; ``rule`` may replace a node (None keeps it)."""
    old = children(e)
    if old:
        new = tuple(rewrite(c, rule) for c in old)
        if new != old:
            e = with_children(e, new)
    out = rule(e)
    return e if out is None else out


def substitute(e: Expr, values: Mapping[str, Expr]) -> Expr:
    """``e`` with variables replaced by expressions."""
    return rewrite(e, lambda n: values.get(n.name) if isinstance(n, Var) else None)
