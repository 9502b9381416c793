"""The lengths, grids and rows that every schedule speaks of, each written once."""

from __future__ import annotations

from flashgen.expr import algebra as al
from flashgen.expr.terms import index
from flashgen.ir.program import GridAxis, Scalar

from .bounds import KEYS, QUERIES, inside

B, HQ, HKV, NQ, NK = (index(n) for n in ("B", "Hq", "Hkv", "Nq", "Nk"))
BLOCK_M, BLOCK_N = index("BLOCK_M"), index("BLOCK_N")
#: The query heads that share a KV head.
GROUP = al.floordiv(HQ, HKV)
#: How long each index of a tensor runs.
LENGTHS = {"b": B, "h": HQ, "hkv": HKV, "q": NQ, "k": NK}
TILES = {"q_tile": al.cdiv(NQ, BLOCK_M), "k_tile": al.cdiv(NK, BLOCK_N)}
KV_HEAD = Scalar("hkv", al.floordiv(index("h"), GROUP), "grouped heads share a KV head")
HEAD_OF_GROUP = Scalar("h", al.add(al.mul(index("hkv"), GROUP), index("i_head")), "a query head of the group")
ROWS_INSIDE, KEYS_INSIDE = inside(QUERIES), inside(KEYS)
PAIRS_INSIDE = al.both(ROWS_INSIDE, KEYS_INSIDE)


def grid(*names: str) -> tuple[GridAxis, ...]:
    """A program for each of these: batches, heads, KV heads, tiles of queries or of keys."""
    extents = LENGTHS | TILES
    return tuple(GridAxis(n, extents[n]) for n in names)
