"""The dtype of int tiles: 64 bits where a value might not fit 32 (``expr.extent``)."""

from __future__ import annotations

from dataclasses import replace

from flashgen.expr.extent import LANGUAGE, Known
from flashgen.expr.nodes import Expr
from flashgen.expr.widths import is_wide

from .program import DType, Loop, Map, Program, Scalar, Stmt


def tile_dtype(value: Expr, known: Known) -> DType:
    """What a tile of ``value`` is held in."""
    if value.type == "int":
        return "int64" if is_wide(value, known) else "int32"
    return "acc" if value.type == "float" else "bool"


def counting(s: Loop, known: Known) -> Known:
    """What is known in a loop: its variable is a number of its domain."""
    return known.knowing(s.var, *(e for r in s.domain for e in (r.lo, r.hi)))


def sized(program: Program) -> Program:
    """``program`` with every int tile in the bits that its values need."""
    kernels = tuple(replace(k, body=_sized(k.body, LANGUAGE)[0]) for k in program.kernels)
    return replace(program, kernels=kernels)


def _sized(body: tuple[Stmt, ...], known: Known) -> tuple[tuple[Stmt, ...], Known]:
    out: list[Stmt] = []
    for s in body:
        match s:
            case Loop():
                s = replace(s, body=_sized(s.body, counting(s, known))[0])
            case Scalar(name=name, value=value):
                known = known.knowing(name, value)
            case Map(dst=dst, value=value) if value.type == "int":
                s = replace(s, dst=replace(dst, dtype=tile_dtype(value, known)))
                known = known.knowing(dst.name, value)
        out.append(s)
    return tuple(out), known
