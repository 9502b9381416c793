"""DRAM traffic of a kernel: what L2 cannot answer. Requested bytes, which it mostly can, are ``count``'s."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod

from flashgen.expr.nodes import variables

from .facts import KernelFacts, LoadFacts
from .plan import Workload
from .resources import Tiling
from .trips import extent


def dram_bytes(
    t: Tiling, w: Workload, blocks: int, slots: int, mean: list[float], sides: Mapping[str, int]
) -> float:
    """DRAM traffic: every tensor that tiles of a head share once (what one tile skips under a mask another
    reads) and again as far as L2 cannot hold the running heads'; other loads and all stores as requested,
    no load more than its tensor has, times the batch entries that read one too large for L2."""
    f = t.facts
    grid = {g.name: extent(g.extent, w, sides) for g in f.kernel.grid}
    tiled = {g.name for g in f.kernel.grid if variables(g.extent) & set(f.sides)}
    heads = max(1, w.B * w.Hkv)
    total = reused = 0.0
    shared: dict[str, tuple[float, int]] = {}  # of tensors that tiles share: bytes requested, and the most
    for n, body in zip((1.0, *mean), (f.body, *f.loops), strict=True):
        total += blocks * n * t.stored_bytes(body)
        for x in body.loads:
            asked = blocks * n * t.bytes_of(x)
            size = _elements(f, x.src, w) * t.item(x.dtype)
            most = size * _times(t, x, asked, size, {a: n for a, n in grid.items() if a not in tiled})
            if tiled and tiled <= x.varies:
                total += min(asked, most)
                continue
            shared[x.src] = (asked + shared.get(x.src, (0.0, 0))[0], most)
            reused += min(asked, size) / heads if body is f.body else n * t.bytes_of(x)
    cut = next((g for g in f.kernel.grid if f.row_side and f.row_side in variables(g.extent)), None)
    rows = extent(cut.extent, w, sides) if cut is not None else 1
    per_head = blocks / heads  # blocks that read the same K and V
    working_set = min(heads, max(1.0, slots / max(1.0, per_head))) * reused
    missing = max(0.0, 1 - t.target.number("l2") / working_set) if working_set else 0.0
    again = max(1.0, rows * missing / 4)
    return float(total + again * sum(min(asked, most) for asked, most in shared.values()))


def _times(t: Tiling, x: LoadFacts, asked: float, size: int, heads: Mapping[str, int]) -> int:
    """How often a tensor is read because heads or batch entries read the same tiles: once where L2 holds
    what passes between two uses. ``heads``: the grid's axes that cut no sequence, slowest first."""
    free = [a for a in heads if a not in x.varies]
    if not free:
        return 1
    slower = list(heads)[: list(heads).index(free[0]) + 1]
    between = min(size, asked / max(1, prod(heads[a] for a in slower)))
    return 1 if between <= t.target.number("l2") else prod(heads[a] for a in free)


@lru_cache(maxsize=4096)
def _elements(f: KernelFacts, tensor: str, w: Workload) -> int:
    return prod(extent(n, w, {}) for n in f.program.tensor(tensor).dims)
