"""Values that expressions of several statements share: the compiler keeps them from the first to the last.

The derivative of a score has parts of the score in it, so a backward needs them twice. Triton finds what is
computed twice and computes it once, and then it holds registers in between, an element of a thread's tile
each, beside the tiles that the program names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from flashgen.expr.nodes import Call, Expr, children, variables
from flashgen.ir.program import Dot, Kernel, Load, Loop, Map, Stmt, statements
from flashgen.ir.uses import result


@lru_cache(maxsize=256)
def shared_values(kernel: Kernel) -> int:
    """The most matrices of values that statements of one pass of a loop of ``kernel`` share at a time, those
    that have a name left out. Conditions are not counted: they are made again from what they compare."""
    loops = [s for s in statements(kernel.body) if isinstance(s, Loop)]
    made = [dst for s in statements(kernel.body) if (dst := result(s)) is not None]
    axes = {dst.name: frozenset(dst.axes) for dst in made}
    return max((_shared(loop.body, axes) for loop in loops), default=0)


def _shared(body: tuple[Stmt, ...], axes: Mapping[str, frozenset[str]]) -> int:
    first: dict[Expr, int] = {}
    last: dict[Expr, int] = {}

    def read(e: Expr, i: int) -> None:
        if first.setdefault(e, i) < i:
            last[e] = i  # what it is made of need not be kept
            return
        for child in children(e):
            read(child, i)

    def matrix(e: Expr) -> bool:
        over = frozenset().union(*(axes.get(v, ()) for v in variables(e)))
        return isinstance(e, Call) and e.type != "bool" and len(over) > 1

    for i, s in enumerate(body):
        for e in _values(s):
            read(e, i)
    kept = [(first[e], end) for e, end in last.items() if matrix(e)]
    return max((sum(a <= i < b for a, b in kept) for i in range(len(body))), default=0)


def _values(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that a statement computes elementwise."""
    if isinstance(s, Map):
        return (s.value,)
    if isinstance(s, Load):
        return s.index
    return (s.acc,) if isinstance(s, Dot) and s.acc is not None else ()
