"""The planner's sizes as formulas: sympy expressions in the sides, stages and lengths, for people to read.

Shared memory keeps the terms of ``resources`` symbolic; bytes and on-chip memory are those of ``count``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flashgen.count.walk import head_dims
from flashgen.expr.nodes import Const
from flashgen.ir.dtypes import ACC_BYTES, ITEM_BYTES
from flashgen.plan.resources import Tiling, register_parts
from flashgen.plan.smem import Term, smem_terms

if TYPE_CHECKING:
    from sympy import Expr

    from flashgen.count.symbolic_counts import Formulas


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
    """The on-chip bytes, the papers' M, in symbols: the tiles alive where they are most at these sides."""
    import sympy

    from flashgen.count.symbolic import symbol

    most = t.facts.counts.exact.on_chip
    at = {symbol(name): n for name, n in t.sides.items()}
    at |= {symbol(name): n for name, n in head_dims(t.facts.program).values()}
    arms = [in_bytes(e, t.dtype) for e in (most.args if isinstance(most, sympy.Max) else (most,))]
    return str(max(arms, key=lambda e: e.subs(at)))


def register_text(t: Tiling) -> str:
    """What holds registers."""
    return " + ".join(f"{n:.0f} {what}" for what, n in register_parts(t).items())


#: A longer formula than this tells a reader nothing.
MOST_TEXT = 1600
SUM_ONLY = "a long sum over tiles: the loops' domains vary with the row (flashgen.count.counts.counts has it)"


def traffic_text(t: Tiling) -> str:
    """The bytes all programs of the kernel request, in symbols, and how they grow with M bytes on chip."""
    closed, data = _closed(t), t.facts.counts.data
    if data:
        return f"decided by the elements of {', '.join(sorted(data))}; the value takes each as Nk, or true"
    import sympy

    if not closed.assuming:
        return "a sum over tiles, below" if sum_text(t) else SUM_ONLY
    said = [
        str(sympy.factor_terms(in_bytes(closed.requested, t.dtype))),
        f"(where {', '.join(closed.assuming)})",
    ]
    return "\n".join([*said, *_growth(t)])


def sum_text(t: Tiling) -> str:
    """The bytes requested at all lengths, where they have no closed form and are not too long to read."""
    if t.facts.counts.data or _closed(t).assuming:
        return ""
    total = str(in_bytes(t.facts.counts.exact.requested, t.dtype))
    return total if len(total) <= MOST_TEXT else ""


def _closed(t: Tiling) -> Formulas:
    from flashgen.count.symbolic_counts import closed_at

    return closed_at(t.facts.counts, t.sides)


def flops_text(t: Tiling) -> str:
    """FLOPs of the dots in symbols."""
    closed = _closed(t)
    return f"{closed.flops} FLOP" if closed.assuming else "FLOP of the tiles that are visited"


def _growth(t: Tiling) -> list[str]:
    from flashgen.count.tradeoff import filled

    out = []
    for f in filled(t.facts.counts):
        sides = ", ".join(f"{name} = {in_bytes(e, t.dtype)}" for name, e in f.sides)
        out.append(f"{f.theta}: {in_bytes(f.leading, t.dtype)} leads where tiles fill M bytes ({sides})")
    return out


def in_bytes(e: Any, dtype: str) -> Any:
    """``e`` with the bytes of elements and accumulators where q is ``dtype``."""
    from flashgen.count.symbolic import symbol

    return e.subs({symbol("elem_bytes"): ITEM_BYTES[dtype], symbol("acc_bytes"): ACC_BYTES[dtype]})
