"""The definition of dropout's random bits, in numpy: what every other implementation must equal.

It shares no code with ``flashgen.ir.philox``. Philox-2x32 is from Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011; ``rounds=10`` gives that paper's usual variant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def philox(counter: tuple[Any, Any], key: Any, rounds: int = 7) -> list[NDArray[np.uint64]]:
    """The two words of ``counter`` (2) under ``key``: 32-bit numbers in uint64, broadcast together."""
    x0, x1, k = (np.asarray(w, np.uint64) for w in (*counter, key))
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(rounds):
        p = x0 * np.uint64(0xD256D193)
        x0, x1, k = (p >> high) ^ k ^ x1, p & low, k + np.uint64(0x9E3779B9) & low
    return list(np.broadcast_arrays(x0, x1))


def keep_mask(seed: int, batch: int, heads: int, seqlen_q: int, seqlen_k: int, p: float) -> NDArray[np.bool_]:
    """Which pairs dropout of probability ``p`` keeps: bool (batch, heads, seqlen_q, seqlen_k)."""
    b, h, q, k = np.ogrid[:batch, :heads, :seqlen_q, :seqlen_k]
    return kept(seed, b * heads + h, q, k, p)


def kept(
    seed: int, head: NDArray[np.int64] | int, q: NDArray[np.int64], k: NDArray[np.int64], p: float
) -> NDArray[np.bool_]:
    """Whether dropout keeps the pair of rows q and k in the head number b * heads + h; broadcast together."""
    key, mix = philox((seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF), head)
    words = philox(((q & ~8).astype(np.uint64) ^ mix, k & ~8), key)
    word = np.where(q & 8, words[1], words[0])
    half = np.where(k & 8, word >> np.uint64(16), word & np.uint64(0xFFFF))
    return np.asarray(half >= _units(p))


def quantised(p: float) -> float:
    """The probability with which a pair is dropped: ``p`` in whole units of 2**-16, neither 0 nor 1."""
    return _units(p) / 2**16


def _units(p: float) -> int:
    return min(max(round(p * 2**16), 1), 2**16 - 1) if p else 0
