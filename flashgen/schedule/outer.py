"""What FlashAttention's passes share: K and V tiles in the outer loop, every tile of queries in the inner.

A program sees all rows of a head, so K and V are guarded by what no row sees. A tile of keys may pass their
end: ``k < Nk`` is part of the mask here, and tiles beyond the end count as partial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashgen.expr import algebra as al
from flashgen.expr.nodes import TRUE, Expr, integer, substitute
from flashgen.expr.terms import ZERO, index
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Scalar, Stmt
from flashgen.ir.uses import used

from .axes import BLOCK_N, KEYS_INSIDE, NQ
from .bounds import KEYS, mask_bounds
from .values import Values, needed_by

#: The last key of a tile, whether it is there or not.
LAST_KEY = Scalar("k_hi", al.add(index("k_lo"), al.sub(BLOCK_N, integer(1))))


def bounded(ir: AttentionIR) -> AttentionIR:
    """``ir`` with the end of the keys as part of its mask."""
    return replace(ir, mask=al.both(ir.mask or TRUE, KEYS_INSIDE))


def key_limits(ir: AttentionIR) -> tuple[list[Stmt], Expr, bool]:
    """The guard of keys that some row of the head may see, the scalars it takes before it, and whether no
    other key passes it."""
    values = Values(ir)
    bounds = mask_bounds(None if ir.mask is None else values.load_uniform(ir.mask), KEYS)
    needed = needed_by(bounds.inside, [*values.prologue, *bounds.scalars])
    every_row = [Scalar("first_row", ZERO), Scalar("last_row", al.sub(NQ, integer(1)), "all rows")]
    seen = {"q_lo": index("first_row"), "q_hi": index("last_row")}
    of_rows = [replace(s, value=substitute(s.value, seen)) if isinstance(s, Scalar) else s for s in needed]
    return [*every_row, *of_rows] if needed else [], bounds.inside, bounds.clean


def differs_by_head(limits: Sequence[Stmt]) -> bool:
    """Whether the limits of keys are not the same for the query heads that share a KV head."""
    return not {"h"}.isdisjoint(v for s in limits for v in used(s))
