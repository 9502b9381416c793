"""``Program`` -> ``Program``: what leaves no trace in a tensor is not there.

A mask that is false wherever its tiles are looked at leaves loops without passes. The values that only they
would change, the loops around them and what is loaded for them then go too: such a kernel stores its zeros.
"""

from __future__ import annotations

from dataclasses import replace

from .program import Fence, Loop, Program, Stmt
from .uses import defined, reads, used


def live(program: Program) -> Program:
    """``program`` without statements whose values nothing that is stored rests on."""
    kernels = (replace(k, body=tuple(_block(k.body, set()))) for k in program.kernels)
    return replace(program, kernels=tuple(kernels))


def _block(body: tuple[Stmt, ...], wanted: set[str]) -> list[Stmt]:
    """What of ``body`` is needed for its stores and the values ``wanted`` after it; these become the values
    wanted before it."""
    out: list[Stmt] = []
    for s in reversed(body):
        if isinstance(s, Loop):
            kept = _loop(s, wanted)
            out += [] if kept is None else [kept]
        elif (name := defined(s)) is None:
            out.append(s)
            wanted |= used(s)
        elif name in wanted:
            out.append(s)
            wanted.discard(name)
            wanted |= used(s)
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
    changed = {defined(d) for d in body} | {c for d in body if isinstance(d, Loop) for c in d.carried}
    wanted |= before - {s.var}
    wanted |= set(reads(replace(s, carried=())))
    return replace(s, body=body, carried=tuple(c for c in s.carried if c in after & changed))
