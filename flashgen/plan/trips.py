"""How often each loop of a kernel runs: its bounds evaluated for sample rows of the grid.

Bounds are the program's own expressions. What only the data decides (a length read from an input) counts
as the whole key length, the most work it can mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from flashgen.expr.nodes import Const, Expr, Read, Var, variables
from flashgen.expr.ops import OPS
from flashgen.ir.program import Load, Loop, Map, Scalar, Stmt

from .facts import KernelFacts
from .plan import Workload

Env: TypeAlias = dict[str, Any]
Closure: TypeAlias = Callable[[Env], Any]
#: Rows of the grid that are looked at: enough for the mean of ramps and edges.
SAMPLES = 8


@lru_cache(maxsize=4096)
def closure(e: Expr) -> Closure:
    """``e`` as a Python function of named values; input reads stand for ``Nk``."""
    if isinstance(e, Const):
        value = e.value
        return lambda env: value
    if isinstance(e, Var):
        name = e.name
        return lambda env: env[name]
    if isinstance(e, Read):
        return lambda env: env["Nk"]
    f = OPS[e.op].python
    args = [closure(a) for a in e.args]
    if len(args) == 2:
        x, y = args
        return lambda env: f(x(env), y(env))
    return lambda env: f(*(a(env) for a in args))


def extent(e: Expr, w: Workload, sides: Mapping[str, int]) -> int:
    """A size in lengths and sides as a number."""
    return int(closure(e)({**w.names(), **sides}))


def row_samples(n: int) -> list[int]:
    """Evenly spread row tiles of ``n``, the first and the last among them."""
    if n <= SAMPLES:
        return list(range(n))
    return sorted({round(i * (n - 1) / (SAMPLES - 1)) for i in range(SAMPLES)})


@lru_cache(maxsize=4096)
def trips(f: KernelFacts, w: Workload, numbers: tuple[tuple[str, int], ...]) -> list[tuple[int, ...]]:
    """For each sampled row tile, how many passes every loop (outer before inner) makes in all."""
    sides = dict(numbers)
    loops = [s for s in f.kernel.body if isinstance(s, Loop)]
    row = next((g for g in f.kernel.grid if f.row_side and f.row_side in variables(g.extent)), None)
    rows = extent(row.extent, w, sides) if row is not None else 1
    out = []
    for i in row_samples(rows):
        env: Env = {**w.names(), **sides, **{g.name: 0 for g in f.kernel.grid}}
        if row is not None:
            env[row.name] = i
        counts: list[int] = []
        _run(f.kernel.body, env)
        for loop in loops:
            _count(loop, env, 1, counts)
        out.append(tuple(counts))
    return out


def _run(body: tuple[Stmt, ...], env: Env) -> None:
    for s in body:
        if isinstance(s, Scalar):
            env[s.name] = closure(s.value)(env)
        elif isinstance(s, Load) and not s.dst.axes:
            env[s.dst.name] = env["Nk"]
        elif isinstance(s, Map) and not s.dst.axes and s.value.type != "float":
            env[s.dst.name] = closure(s.value)(env)


def _count(loop: Loop, env: Env, outer: int, counts: list[int]) -> None:
    passes = 0
    first = 0
    for r in loop.domain:
        lo, hi = int(closure(r.lo)(env)), int(closure(r.hi)(env))
        if hi > lo and not passes:
            first = lo
        passes += max(0, hi - lo)
    counts.append(outer * passes)
    inner = {**env, loop.var: first}
    _run(loop.body, inner)
    for s in loop.body:
        if isinstance(s, Loop):
            _count(s, inner, outer * passes, counts)
