"""Comparisons of sizes and strides that may be symbols: of ``torch.compile``, or of ``torch.export``.

A size that depends on data (``q[keep]``) has no value while a graph is made. Nothing here asks for one:
what it leaves open is decided as for a size that is neither 0 nor 1, or is left for the graph to check.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

#: A plain number, or a symbol that stands for one.
Length: TypeAlias = int | torch.SymInt
#: What a size that depends on data stands for where two strides are compared.
GENERIC = 4096


def equal(a: Length, b: Length) -> bool:
    """Whether two sizes are equal. Where that depends on data they are taken to be, and the graph checks it
    when it runs."""
    same: Any = a == b
    if isinstance(same, bool) or not _open(same):
        return bool(same)
    torch._check(same, lambda: f"sizes {a} and {b} must be equal")  # type: ignore[no-untyped-call]
    return True


def is_number(n: Length, number: int) -> bool:
    """Whether a size or stride is this number; not where that depends on data."""
    same: Any = n == number
    return bool(same) if isinstance(same, bool) or not _open(same) else False


def at_least(a: Length, b: Length) -> bool:
    """Whether stride ``a`` is at least ``b``; sizes in them that depend on data are taken for long."""
    test: Any = a >= b
    if isinstance(test, bool) or not _open(test):
        return bool(test)
    first, second = (_generic(n) for n in (a, b))
    return first >= second


def max_one(n: Length) -> int:
    """At least 1: torch's strides of an empty tensor count an empty dim as one."""
    if isinstance(n, int):
        return n or 1
    return torch.sym_max(n, 1)  # type: ignore[no-untyped-call, no-any-return]


def _open(test: Any) -> bool:
    """Whether a symbolic comparison cannot be decided without data."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols, statically_known_true

    return bool(free_unbacked_symbols(test)) and not (
        statically_known_true(test) or statically_known_true(torch.sym_not(test))  # type: ignore[no-untyped-call]
    )


def _generic(n: Length) -> int:
    if isinstance(n, int):
        return n
    expr = n.node.expr
    return int(expr.subs(dict.fromkeys(expr.free_symbols, GENERIC)))
