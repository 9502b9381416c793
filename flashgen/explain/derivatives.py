"""The derivatives that a backward is made of, as lines of text."""

from __future__ import annotations

from flashgen.expr.derive import ZERO, derivative
from flashgen.expr.nodes import Expr, Read, Var, reads, walk
from flashgen.expr.share import share
from flashgen.expr.text import to_text
from flashgen.spec.model import AttentionSpec

S = Var("s", "float")


def derivative_lines(spec: AttentionSpec) -> list[str]:
    """The score, its derivatives by the dot and by each learned read, what they share; the sink's too."""
    lines = _table("score", spec.score_expr, [S, *_learned(spec, spec.score_expr)])
    if spec.sink_expr is not None:
        lines += _table("sink", spec.sink_expr, list(_learned(spec, spec.sink_expr)))
    return lines


def _learned(spec: AttentionSpec, e: Expr) -> list[Read]:
    return [r for r in dict.fromkeys(reads(e)) if spec.inputs[r.name].grad]


def _table(what: str, e: Expr, wanted: list[Var | Read]) -> list[str]:
    slopes = [derivative(e, w) for w in wanted]
    parts, (value, *slopes) = share([e, *slopes], "t", lambda part: S in set(walk(part)))
    lines = [f"{name} = {to_text(part)}" for name, part in parts]
    lines.append(f"{what} = {to_text(value)}")
    for w, slope in zip(wanted, slopes, strict=True):
        lines.append(f"d {what} / d {to_text(w)} = {'0' if slope == ZERO else to_text(slope)}")
    return lines
