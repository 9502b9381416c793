"""Advice on scores that are right but not what their author would want."""

from __future__ import annotations

import math

from .nodes import Call, Const, Expr, variables, walk
from .text import to_text

#: A literal this low in a ``where`` is meant as minus infinity.
_VERY_LOW = -1e4


def hints(score: Expr) -> list[str]:
    """Sentences for ``flashgen check``: a mask that hides in a score, a product meant as a mask."""
    out = []
    for n in walk(score):
        if isinstance(n, Call) and n.op == "where":
            hidden = _hidden_mask(n)
            if hidden is not None:
                out.append(hidden)
        if isinstance(n, Call) and n.op == "mul" and any(_indicator(a) for a in n.args):
            out.append(
                f"`{to_text(n)}` is 0 where the condition fails, and a score of 0 still gets weight "
                "exp(0) = 1: to hide keys write the condition in `mask`"
            )
    if "s" not in variables(score):
        out.append("the score does not use `s`: the weights will not depend on q and k")
    return list(dict.fromkeys(out))


def _hidden_mask(e: Call) -> str | None:
    condition, a, b = e.args
    if _very_low(b) and not _very_low(a):
        mask, rest = condition, a
    elif _very_low(a) and not _very_low(b):
        mask, rest = Call("not", (condition,), "bool"), b
    else:
        return None
    advice = (
        f"`{to_text(e)}` hides a mask in the score: with `mask: {to_text(mask)}` and `{to_text(rest)}` "
        "in its place, tiles in which nothing is visible are skipped"
    )
    low = a if rest is b else b
    finite = isinstance(low, Const) and math.isfinite(low.value)
    return advice + (f" (and {to_text(low)} is not infinity: hidden keys keep some weight)" if finite else "")


def _very_low(e: Expr) -> bool:
    return isinstance(e, Const) and e.type == "float" and e.value <= _VERY_LOW


def _indicator(e: Expr) -> bool:
    """``float(int(c))``, ``where(c, 1, 0)``: a condition as a number."""
    if not isinstance(e, Call):
        return False
    if e.op == "float":
        return _indicator(e.args[0])
    return e.op == "int" or (
        e.op == "where" and all(isinstance(a, Const) for a in e.args[1:]) and {0, 1} == _values(e)
    )


def _values(e: Call) -> set[bool | int | float]:
    return {a.value for a in e.args[1:] if isinstance(a, Const)}
