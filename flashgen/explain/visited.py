"""What a mask saves: the tiles that are visited of all, and which parts of the mask give bounds.

Counted by the bounds themselves, for every tile of queries, at one length and tile. An input is looked at
only when a kernel runs: where bounds read one, it is 0 or the length, whichever leaves more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from flashgen.expr.nodes import Call, Const, Expr, Read, integer, reads, rewrite
from flashgen.expr.terms import ZERO, index
from flashgen.ir.attention import AttentionIR, close
from flashgen.ir.workload import Workload
from flashgen.plan.model.trips import Env, closure
from flashgen.schedule.bounds import KEYS, Bounds, mask_bounds
from flashgen.schedule.domains import Solver, Span, solve

#: The tiles that masks are usually judged by, and a length at which they matter.
SIDES = {"BLOCK_M": 128, "BLOCK_N": 128}
LENGTH = 4096
#: So many ways in which inputs may lie at the ends of what they can hold are looked at.
MOST_ENDS = 16


@dataclass(frozen=True)
class Visited:
    """``visited`` of ``tiles``, ``full`` of them without mask code; the parts of the mask, joined by ``&``,
    that bound the keys of a tile of queries, and those that do not; the inputs that bounds read."""

    tiles: int
    visited: int
    full: int
    bounding: tuple[Expr, ...]
    free: tuple[Expr, ...]
    inputs: tuple[str, ...]


def visited(ir: AttentionIR, mask: Expr, length: int = LENGTH) -> Visited:
    """For ``length`` queries and keys of the computation ``ir``; ``mask`` is its mask as it was written."""
    bounds = mask_bounds(ir.mask)
    work = Workload(1, 1, 1, length, length)
    read = {r.name for s in bounds.scalars for r in reads(s.value)}
    inputs = tuple(i.name for i in ir.inputs if i.name in read)
    ends = [dict(zip(inputs, e, strict=True)) for e in product((0, length), repeat=len(inputs))][:MOST_ENDS]
    rows, columns = (-(-length // side) for side in SIDES.values())
    counts = [max((_counts(bounds, work, i, e) for e in ends), key=sum) for i in range(rows)]
    parts = conjuncts(mask)
    free = tuple(p for p in parts if not _bounds_keys(close(p)))
    return Visited(
        rows * columns,
        sum(map(sum, counts)),
        sum(full for full, _ in counts),
        tuple(p for p in parts if p not in free),
        free,
        inputs,
    )


def conjuncts(mask: Expr) -> list[Expr]:
    """The parts of a mask which must all hold."""
    if isinstance(mask, Call) and mask.op == "and":
        return [part for side in mask.args for part in conjuncts(side)]
    return [mask]


def _bounds_keys(part: Expr) -> bool:
    """Whether ``part`` alone leaves keys out for some tile of queries."""
    found = solve(part, Solver("k", KEYS.length, {"q": (index("q_lo"), index("q_hi"))}))
    return found.possible != (Span(ZERO, KEYS.length),)


def _counts(bounds: Bounds, w: Workload, row: int, inputs: Mapping[str, int]) -> tuple[int, int]:
    """Full and partial tiles of one tile of queries, where all elements of ``inputs`` are one number each."""
    first = row * SIDES["BLOCK_M"]
    env: Env = {**w.names(), **SIDES, **dict.fromkeys(("b", "h", "hkv"), 0)}
    env |= {"q_lo": first, "q_hi": min(first + SIDES["BLOCK_M"], w.Nq) - 1}

    def number(e: Expr) -> int:
        def held(n: Expr) -> Expr | None:
            if not isinstance(n, Read):
                return None
            value = inputs[n.name]
            return Const(bool(value), "bool") if n.type == "bool" else integer(value)

        return int(closure(rewrite(e, held))(env))

    for s in bounds.scalars:
        env[s.name] = number(s.value)
    full, partial = (
        sum(max(0, number(r.hi) - number(r.lo)) for r in ranges) for ranges in (bounds.full, bounds.partial)
    )
    return full, partial
