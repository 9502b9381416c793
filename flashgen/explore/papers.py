"""The papers' traffic, with 1 for the constant that their Theta leaves open, in bytes of a whole call.

FlashAttention (Dao et al. 2022), Theorem 2: standard attention needs Theta(N d + N^2) accesses of memory,
FlashAttention Theta(N^2 d^2 / M) with M elements of SRAM; Theorem 5 has the same of the backward.
"""

from __future__ import annotations

from flashgen.ir.workload import Workload
from flashgen.spec.model import AttentionSpec


def papers(spec: AttentionSpec, w: Workload, item: int) -> dict[str, float]:
    """``standard``, and ``flash`` times the bytes of SRAM; ``item`` bytes an element, every key seen."""
    heads = w.B * w.Hq * item
    linear = (w.Nq * spec.d_qk + w.Nk * spec.d_v) / 2
    pairs = w.Nq * w.Nk
    return {"standard": heads * (linear + pairs), "flash": heads * pairs * spec.d_qk * spec.d_v * item}
