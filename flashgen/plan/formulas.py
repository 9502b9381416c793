"""The planner's sizes as formulas: sympy expressions in the sides, stages and lengths, for people to read.

The numbers come from ``resources`` and ``cost``; here the same terms are kept symbolic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flashgen.expr.nodes import Const

from .resources import Tiling, register_parts
from .smem import Term, smem_terms

if TYPE_CHECKING:
    from sympy import Expr


def _axis(t: Tiling, name: str) -> Any:
    """An axis' side: a symbol where the plan chooses it, a number where the head dim does."""
    import sympy

    size = t.facts.sizes[name]
    if isinstance(size, Const):
        return sympy.Integer(int(size.value))
    return sympy.Symbol(getattr(size, "name", name), positive=True, integer=True)


def _elements(t: Tiling, axes: tuple[str, ...]) -> Any:
    import sympy

    return sympy.prod([_axis(t, a) for a in axes])


def _copies(x: Term) -> Any:
    import sympy

    stages = sympy.Symbol("stages", positive=True, integer=True)
    return {"stages": stages, "stages - 1": stages - 1}.get(x.each, sympy.Integer(x.copies))


def smem_formula(t: Tiling) -> Expr:
    """Bytes of shared memory as Triton takes them, for the kind of dots this tiling has."""
    import sympy

    total: Expr = sympy.Integer(0)
    for x in smem_terms(t):
        total = total + _copies(x) * _elements(t, x.axes) * x.item
    total = sympy.expand(total)
    return sympy.factor_terms(total) if t.stages < 2 else sympy.collect(total, "stages")


def smem_text(t: Tiling) -> str:
    """The formula in words and symbols."""
    names = [f"{x.what} {x.kind}{', ' + x.each if x.each else ''}" for x in smem_terms(t)]
    return f"{smem_formula(t)}\n({'; '.join(names)})"


def on_chip_text(t: Tiling) -> str:
    """The tiles alive at the fullest statement of a loop, in symbols."""
    import sympy

    best, size = None, -1
    for body in t.facts.loops or (t.facts.body,):
        for alive in body.live:
            n = sum(t.bytes_of(x) for x in alive)
            if n > size:
                best, size = alive, n
    total: Expr = sympy.Integer(0)
    for x in best or ():
        total = total + _elements(t, x.axes) * t.item(x.dtype)
    kept = [x for x in t.facts.body.loads if x.feeds_dot]
    if t.facts.loops:
        total = total + sum(_elements(t, x.axes) * t.item(x.dtype) for x in kept)
    return str(sympy.expand(total))


def register_text(t: Tiling) -> str:
    """What holds registers."""
    return " + ".join(f"{n:.0f} {what}" for what, n in register_parts(t).items())


def traffic_formula(t: Tiling) -> Expr:
    """Requested bytes of one program of the grid: before its loops, and a pass of each (``n_0, n_1``)."""
    import sympy

    total: Expr = sympy.Integer(0)
    for x in t.facts.body.loads:
        total = total + _elements(t, x.axes) * t.item(x.dtype)
    for i, loop in enumerate(t.facts.loops):
        passes = sympy.Symbol(f"n_{i}", nonnegative=True, integer=True)
        for x in loop.loads:
            total = total + passes * _elements(t, x.axes) * t.item(x.dtype)
    return sympy.collect(sympy.expand(total), [sympy.Symbol(f"n_{i}") for i in range(len(t.facts.loops))])


def traffic_text(t: Tiling) -> str:
    """The formula, per program; n_i are the passes of loop i."""
    return f"{traffic_formula(t)} a program"
