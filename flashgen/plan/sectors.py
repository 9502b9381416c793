"""What L2 sends for a tile: its bytes, or twice those.

Triton lays out all tensors of one shape that a kernel reads by address alike: each thread has as many
elements side by side as 16 bytes hold of the narrowest type among them. A tile of a wider type is then
copied 16 of every 32 bytes at a time. A sector has 32 bytes, and copies that a pipeline makes pass L1 by, so
each is sent twice: a bias in fp32 whose tile is as large as Q's in bf16.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from flashgen.plan.model.facts import Axes, BodyFacts, KernelFacts, LoadFacts

from .resources import Tiling
from .specialise import VECTOR_BYTES


def sent(t: Tiling, x: LoadFacts) -> int:
    """Bytes that L2 sends for a loaded tile."""
    return t.bytes_of(x) * (2 if t.stages > 1 and halved(t, x) else 1)


def halved(t: Tiling, x: LoadFacts) -> bool:
    """Whether threads have more than 16 bytes of ``x`` side by side, so that each copies half a sector."""
    if not x.along or t.by_descriptor(x):
        return False
    return vector(t, x.axes, x.along) * t.item(x.dtype) > VECTOR_BYTES


def vector(t: Tiling, axes: Axes, along: str) -> int:
    """Elements along an axis that a thread has side by side of a tile loaded by address."""
    shape = _shape(t, axes, along)
    alike = [y for y in _by_address(t) if _shape(t, y.axes, y.along) == shape]
    most = max((VECTOR_BYTES // t.item(y.dtype) for y in alike), default=1)
    return min(most, max(1, t.count(axes) // t.threads))


def _by_address(t: Tiling) -> Iterator[LoadFacts]:
    return (x for x in _loads(t.facts) if x.along and not t.by_descriptor(x))


@lru_cache(maxsize=256)
def _loads(f: KernelFacts) -> tuple[LoadFacts, ...]:
    bodies: tuple[BodyFacts, ...] = (f.body, *f.loops)
    return tuple(x for body in bodies for x in body.loads)


def _shape(t: Tiling, axes: Axes, along: str) -> tuple[tuple[int, ...], int]:
    """A tile's sides, and the number of the one along which elements lie side by side."""
    return tuple(t.sizes[a] for a in axes), axes.index(along)
