"""The sizes of one call."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Workload:
    """The sizes of one call: batch, query heads, key/value heads, lengths."""

    B: int
    Hq: int
    Hkv: int
    Nq: int
    Nk: int

    def names(self) -> dict[str, int]:
        """The lengths by the names a ``Program`` uses."""
        return {"B": self.B, "Hq": self.Hq, "Hkv": self.Hkv, "Nq": self.Nq, "Nk": self.Nk}

    def rounded(self) -> Workload:
        """Batch and lengths rounded up to powers of two: what plans are picked for, so that few are."""
        b, nq, nk = (1 << max(n - 1, 0).bit_length() for n in (self.B, self.Nq, self.Nk))
        return replace(self, B=b, Nq=nq, Nk=nk)

    def distance(self, other: Workload) -> float:
        """How far apart two workloads are: the largest ratio, in powers of two, between their numbers of
        rows, of query heads in all, of heads a KV head, and of keys."""
        return max(
            abs(math.log2(max(x, 1) / max(y, 1)))
            for x, y in (
                (self.Nq, other.Nq),
                (self.Nk, other.Nk),
                (self.B * self.Hq, other.B * other.Hq),
                (self.Hq // max(self.Hkv, 1), other.Hq // max(other.Hkv, 1)),
            )
        )


#: What a plan is chosen for when no sizes are given: enough work to fill any GPU, long sequences.
LONG = Workload(4, 32, 32, 8192, 8192)
