"""``Program`` -> ``Program``: what leaves no trace in a tensor is not there.

A mask that is false wherever its tiles are looked at leaves loops without passes. The values that only they
would change, the loops around them and what is loaded for them then go too: such a kernel stores its zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from flashgen.expr.nodes import Expr, variables

from .program import Coords, Dot, Fence, Keep, Load, Loop, Map, Program, Reduce, Scalar, Stmt, Store


def live(program: Program) -> Program:
    """``program`` without statements whose values nothing that is stored rests on."""
    kernels = (replace(k, body=tuple(_block(k.body, set()))) for k in program.kernels)
    return replace(program, kernels=tuple(kernels))


def made(s: Stmt) -> str | None:
    """The name that a statement other than a loop gives a value to."""
    match s:
        case Scalar():
            return s.name
        case Coords() | Load() | Map() | Dot() | Reduce() | Keep():
            return s.dst.name
    return None


def _block(body: tuple[Stmt, ...], wanted: set[str]) -> list[Stmt]:
    """What of ``body`` is needed for its stores and the values ``wanted`` after it; these become the values
    wanted before it."""
    out: list[Stmt] = []
    for s in reversed(body):
        if isinstance(s, Loop):
            kept = _loop(s, wanted)
            out += [] if kept is None else [kept]
        elif (name := made(s)) is None:
            out.append(s)
            wanted |= _used(s)
        elif name in wanted:
            out.append(s)
            wanted.discard(name)
            wanted |= _used(s)
    return out[::-1]


def _loop(s: Loop, wanted: set[str]) -> Loop | None:
    """The loop with what it still does; None where that is nothing."""
    after = wanted & set(s.carried)
    while True:  # a pass needs what the next one reads
        before = set(after)
        body = tuple(_block(s.body, before))
        if before & set(s.carried) <= after:
            break
        after |= before & set(s.carried)
    if all(isinstance(d, Fence) for d in body):
        return None
    changed = {made(d) for d in body} | {c for d in body if isinstance(d, Loop) for c in d.carried}
    wanted |= before - {s.var}
    wanted |= _names(e for r in s.domain for e in (r.lo, r.hi))
    return replace(s, body=body, carried=tuple(c for c in s.carried if c in after & changed))


def _used(s: Stmt) -> set[str]:
    """The names of the values that a statement other than a loop reads."""
    match s:
        case Scalar() | Map():
            return variables(s.value)
        case Coords():
            return variables(s.start)
        case Load():
            return _names((*s.index, *_if(s.guard)))
        case Store():
            return _names((*s.index, *_if(s.guard))) | {s.value.name}
        case Dot():
            return _names((*_if(s.acc), *_if(s.only))) | {s.a.name, s.b.name}
        case Reduce():
            return {s.src.name}
        case Keep():
            return _names((s.head, s.q_lo, s.k_lo)) | {s.seed.name}
    return set()


def _names(exprs: Iterable[Expr]) -> set[str]:
    return {name for e in exprs for name in variables(e)}


def _if(e: Expr | None) -> tuple[Expr, ...]:
    return () if e is None else (e,)
