"""What must hold of a spec that gradients are asked of: its score has a derivative, and so does each
learned input wherever it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flashgen.expr.derive import ZERO, NoDerivative, derivative
from flashgen.expr.nodes import Expr, Read, Var, reads
from flashgen.expr.summed import unsummable

from .problems import Problem

if TYPE_CHECKING:
    from .model import AttentionSpec, InputSpec

SCORE = Var("s", "float")


def problems(spec: AttentionSpec, score: Expr, mask: Expr | None, sink: Expr | None) -> list[Problem]:
    """What is wrong with the gradients that ``spec`` promises."""
    learned = {name: tensor for name, tensor in spec.inputs.items() if tensor.grad}
    if not spec.backward:
        text = "is learned, and `backward: false` refuses gradients: leave one of the two out"
        return [Problem(("inputs", name, "grad"), f"`{name}` {text}") for name in learned]
    found = _of_scores(spec, score)
    numbers = [e for e in (score, sink) if e is not None]
    for name, tensor in learned.items():
        if why := _of_input(name, tensor, numbers, mask):
            found.append(Problem(("inputs", name, "grad"), why))
    return found


def _of_scores(spec: AttentionSpec, score: Expr) -> list[Problem]:
    try:
        derivative(score, SCORE)
    except NoDerivative as error:
        steps = [m.start() for m in re.finditer(r"\bfloor\b", spec.score)]
        text = f"{error}, and gradients of q and k need one; `backward: false` keeps the spec to inference"
        return [Problem(("score",), text, steps[0] if len(steps) == 1 else None)]
    return []


def _of_input(name: str, tensor: InputSpec, numbers: list[Expr], mask: Expr | None) -> str | None:
    """Why the input has no gradient, or None."""
    if tensor.dtype != "float":
        return f"`{name}` is {tensor.dtype}: only float inputs have a gradient; leave `grad` out"
    found = _named(name, numbers)
    if not found:
        why = "only the mask reads it, and a mask chooses" if _named(name, [mask]) else "nothing reads it"
        return f"`{name}` has no gradient: {why}; read it in the score or the sink, or leave `grad` out"
    sizes = [n if isinstance(n, int) else None for n in tensor.shape]
    moved = False
    for e in numbers:
        for r in _named(name, [e]):
            try:
                slope = derivative(e, r)
            except NoDerivative as error:
                return f"`{name}` has no gradient: {error}; leave `grad` out, or do without the step"
            if slope != ZERO:
                moved = True
                if text := unsummable(r, sizes):
                    return text
    if not moved:
        return (
            f"`{name}` has no gradient: no score moves with it, it only decides, in a condition or an index; "
            "leave `grad` out"
        )
    return None


def _named(name: str, exprs: Iterable[Expr | None]) -> list[Read]:
    return [r for e in exprs if e is not None for r in reads(e) if r.name == name]
