"""Dropout of attention weights: Z, drawn anew wherever P is; 1 / (1 - p) for a pair that is kept, else 0.

The bits of a pair follow from the seed and its (b, h, q, k) alone (``ir/philox``), so every kernel draws the
same whatever its tiles. p is the probability that the bits really have.

Z is a factor and not a selection: compilers move a selection behind the rounding of P, where two packed
values take three instructions instead of two.
"""

from __future__ import annotations

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Expr, Var, integer, real
from flashgen.expr.terms import ZERO, call, index
from flashgen.ir.attention import AttentionIR
from flashgen.ir.philox import quantised, threshold
from flashgen.ir.program import Keep, Load, Scalar, Stmt, Tensor, Tile

SEED = Tile("seed", (), "int64")
KEEP = Var("keep", "bool")
#: The number of a head in its batch's heads, which a pair's bits depend on.
HEAD = Scalar("bh_number", al.add(al.mul(index("b"), index("Hq")), index("h")))


def seed_tensors(ir: AttentionIR) -> tuple[Tensor, ...]:
    """The seed, where ``ir`` drops anything."""
    return (Tensor("seed", (integer(1),), "int64", "seed"),) if ir.dropout else ()


def seed(ir: AttentionIR) -> list[Stmt]:
    """Loads the seed."""
    return [Load(SEED, "seed", (ZERO,))] if ir.dropout else []


def head(ir: AttentionIR) -> list[Stmt]:
    """What the pairs of one head have in common."""
    return [HEAD] if ir.dropout else []


def drawn(ir: AttentionIR, axes: tuple[str, str]) -> list[Stmt]:
    """``keep``, true for the pairs of a tile that are kept."""
    if not ir.dropout:
        return []
    first = (index("q_lo"), index("k_lo"))
    dst = Tile("keep", axes, "bool")
    note = (
        f"pairs that dropout keeps: Z = 1 / (1 - p) there, else 0, with p = {threshold(ir.dropout)} / 2**16"
    )
    return [Keep(dst, SEED, index(HEAD.name), *first, ir.dropout, note)]


def weights(ir: AttentionIR) -> str:
    """What the values are multiplied with, as notes call it."""
    return "(Z * P)" if ir.dropout else "P"


def kept(ir: AttentionIR, e: Expr) -> Expr:
    """``e`` times Z."""
    if not ir.dropout:
        return e
    return call("mul", e, call("where", KEEP, real(1.0 / (1.0 - quantised(ir.dropout))), real(0.0)))
