"""How often each loop of a kernel runs: its bounds evaluated for sample rows of the grid.

Bounds are the program's own expressions. What only the data decides (a length read from an input) counts
as the whole key length, the most work it can mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from flashgen.expr.nodes import Const, Expr, Read, Var
from flashgen.expr.ops import OPS
from flashgen.ir.program import Load, Loop, Map, Scalar, Stmt, statements
from flashgen.ir.workload import Workload

from .facts import KernelFacts

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
    row = f.cut
    rows = extent(row.extent, w, sides) if row is not None else 1
    out = []
    for i in row_samples(rows):
        env: Env = {**w.names(), **sides, **{g.name: 0 for g in f.kernel.grid}}
        if row is not None:
            env[row.name] = i
        _run(f.kernel.body, env)
        out.append(tuple(round(n) for loop in loops for n in _passes(loop, env)))
    return out


def _run(body: tuple[Stmt, ...], env: Env) -> None:
    for s in body:
        if isinstance(s, Scalar):
            env[s.name] = closure(s.value)(env)
        elif isinstance(s, Load) and not s.dst.axes:
            env[s.dst.name] = env["Nk"]
        elif isinstance(s, Map) and not s.dst.axes and s.value.type != "float":
            env[s.dst.name] = closure(s.value)(env)


def _passes(loop: Loop, env: Env) -> list[float]:
    """How many passes ``loop`` makes, and then each loop in it in all of them, by a sample of its tiles."""
    ranges = [(int(closure(r.lo)(env)), int(closure(r.hi)(env))) for r in loop.domain]
    tiles = [range(lo, hi) for lo, hi in ranges if hi > lo]
    passes = sum(map(len, tiles))
    inner = [s for s in loop.body if isinstance(s, Loop)]
    samples: list[list[float]] = []
    for i in row_samples(passes) if inner else []:
        within = {**env, loop.var: _element(tiles, i)}
        _run(loop.body, within)
        samples.append([n for s in inner for n in _passes(s, within)])
    if not samples:
        return [passes, *(0.0 for s in statements(loop.body) if isinstance(s, Loop))]
    return [passes, *(passes * sum(column) / len(samples) for column in zip(*samples, strict=True))]


def _element(tiles: list[range], i: int) -> int:
    """The i-th of the tiles of ranges one after another."""
    for r in tiles:
        if i < len(r):
            return r[i]
        i -= len(r)
    raise IndexError(i)
