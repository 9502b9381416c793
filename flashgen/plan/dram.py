"""DRAM traffic of a kernel: what L2 cannot answer. Requested bytes, which it mostly can, are ``count``'s."""

from __future__ import annotations

from collections.abc import Mapping

from flashgen.expr.nodes import variables

from .facts import LoadFacts
from .plan import Workload
from .resources import Tiling
from .trips import extent


def dram_bytes(
    t: Tiling, w: Workload, blocks: int, slots: int, mean: list[float], sides: Mapping[str, int]
) -> float:
    """DRAM traffic: every tensor once (what one tile skips under a mask another reads), and K and V again as
    far as L2 cannot hold the running heads'."""
    f = t.facts
    once = blocks * (sum(t.bytes_of(x) for x in f.body.loads) + t.stored_bytes(f.body))
    streamed = reused = 0.0
    whole: dict[str, float] = {}  # of what blocks share, by KV head
    for n, loop in zip(mean, f.loops, strict=True):
        streamed += n * t.stored_bytes(loop)
        for x in loop.loads:
            if x.reused:
                reused += n * t.bytes_of(x)
                whole[x.name] = max(_whole(t, x, w, n), whole.get(x.name, 0.0))
            elif len(x.axes) > 1:
                streamed += n * t.bytes_of(x)
    cut = next((g for g in f.kernel.grid if f.row_side and f.row_side in variables(g.extent)), None)
    rows = extent(cut.extent, w, sides) if cut is not None else 1
    heads = max(1, w.B * w.Hkv)
    per_head = blocks / heads  # blocks that read the same K and V
    running = min(heads, max(1.0, slots / max(1.0, per_head)))
    working_set = running * reused
    missing = max(0.0, 1 - t.target.number("l2") / working_set) if working_set else 0.0
    again = max(1.0, rows * missing / 4) if missing else 1.0
    return float(once + blocks * streamed + heads * sum(whole.values()) * again)


def _whole(t: Tiling, x: LoadFacts, w: Workload, passes: float) -> float:
    """Bytes of a KV head's part of the tensor that a loop loads by tiles."""
    along = next((a for a in x.axes if a in ("q", "k")), None)
    if along is None:
        return passes * t.bytes_of(x)
    rows = w.Nk if along == "k" else w.Nq * (w.Hq // max(w.Hkv, 1))
    return rows / t.sizes[along] * t.bytes_of(x)
