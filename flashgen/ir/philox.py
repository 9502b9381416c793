"""Random bits of dropout, on torch tensors: pair (b, h, q, k) of a seed has one 16-bit number.

Philox-2x32 with 7 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), twice: a head's two words come from the seed under the key b * Hq + h, and of these the first is
the key of the head's pairs and the second is mixed into their counter (q & ~8, k & ~8). A call gives two
words and serves {q, q ^ 8} x {k, k ^ 8}: bit 3 of q chooses the word, bit 3 of k its upper half. A thread
that holds a matrix unit's result owns all four, so a GPU pays for a call once in four pairs.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Pair: TypeAlias = tuple[Tensor, Tensor]

ROUNDS = 7
LOW = 0xFFFFFFFF
BIT = 8  # of q and k: which of a call's halves a pair takes
PERIOD = 2 * BIT
UNITS = 2**16


def threshold(p: float) -> int:
    """Numbers below it are dropped: ``p`` in units of 2**-16, between 1 and 65,535 where it is not 0.

    Raises ``ValueError`` unless 0 <= p < 1.
    """
    if not 0 <= p < 1:
        raise ValueError(f"a drop probability lies in [0, 1), got {p}")
    return min(max(round(p * UNITS), 1), UNITS - 1) if p else 0


def quantised(p: float) -> float:
    """The probability with which pairs are really dropped; kept ones are scaled by 1/(1 - it)."""
    return threshold(p) / UNITS


def kept(seed: int | Tensor, bh: Tensor, q: Tensor, k: Tensor, p: float) -> Tensor:
    """Whether dropout of probability ``p`` keeps each pair: bool, of the shape that ``bh``, ``q`` and ``k``
    broadcast to. A pair's number is in [0, 2**16); it is kept where that is at least ``threshold(p)``.

    ``seed`` is an int or an int64 scalar tensor, of which a negative one means its 64 bits; ``bh`` is
    b * Hq + h; int64 tensors all, with values in [0, 2**32). A call is made once for its four pairs where q
    and k run in steps of 1 from multiples of 16, each along a dim of its own, as they do over a tile.
    """
    least = threshold(p)
    dims = max(bh.dim(), q.dim(), k.dim())
    bh, q, k = (x.reshape((1,) * (dims - x.dim()) + x.shape) for x in (bh, q, k))
    key, mix = _call(torch.as_tensor(seed & LOW), torch.as_tensor(seed >> 32 & LOW), bh)
    q_dim, k_dim = _running_dim(q, bh, k), _running_dim(k, bh, q)
    if q_dim is None or k_dim is None:
        words = _call(q & ~BIT ^ mix, k & ~BIT, key)
        word = torch.where(q & BIT != 0, words[1], words[0])
        return torch.where(k & BIT != 0, *_halves_kept(word, least))
    words = _call(_clear_half(q, q_dim) ^ mix, _clear_half(k, k_dim), key)
    return (
        _spread(words, least, q_dim, k_dim).narrow(q_dim, 0, q.shape[q_dim]).narrow(k_dim, 0, k.shape[k_dim])
    )


def _halves_kept(word: Tensor, least: int) -> Pair:
    """Whether the upper and the lower half of ``word`` are at least ``least``."""
    return word >= least << 16, word & UNITS - 1 >= least


def _spread(words: Pair, least: int, q_dim: int, k_dim: int) -> Tensor:
    """Which pairs of a tile are kept, each call's four at their places in 16 rows by 16 columns. What moves
    are bools, of a byte, and no numbers of eight."""

    def joined(first: Tensor, second: Tensor, dim: int) -> Tensor:
        groups = [x.reshape(*x.shape[:dim], -1, 1, BIT, *x.shape[dim + 1 :]) for x in (first, second)]
        return torch.cat(groups, dim + 1).flatten(dim, dim + 2)

    first, second = (joined(lower, upper, k_dim) for upper, lower in (_halves_kept(w, least) for w in words))
    return joined(first, second, q_dim)


def _running_dim(x: Tensor, *others: Tensor) -> int | None:
    """The one dim in which only ``x`` has extent, if ``x`` runs along it from multiples of 16."""
    dims = [d for d, n in enumerate(x.shape) if n > 1 and all(y.shape[d] == 1 for y in others)]
    if len(dims) != 1:
        return None
    first = x.narrow(dims[0], 0, 1)
    steps = _along(torch.arange(x.shape[dims[0]], device=x.device), dims[0], x.dim())
    return None if (first % PERIOD != 0).any() or (x - first != steps).any() else dims[0]


def _along(line: Tensor, dim: int, dims: int) -> Tensor:
    return line.view([-1 if d == dim else 1 for d in range(dims)])


def _clear_half(x: Tensor, dim: int) -> Tensor:
    """Of numbers that run along ``dim``, filled up to whole periods, those whose bit 3 is 0."""
    n = x.shape[dim]
    whole = torch.arange(n + -n % PERIOD, device=x.device)
    return x.narrow(dim, 0, 1) + _along(whole.view(-1, 2, BIT)[:, 0].flatten(), dim, x.dim())


def _call(c0: Tensor, c1: Tensor, key: Tensor) -> Pair:
    """The two words of counter (c0, c1) under ``key``."""
    shape = torch.zeros_like(c0 + c1 + key)
    c0, c1 = shape | c0, shape | c1  # of the full shape and nobody else's: changed in place below
    for _ in range(ROUNDS):
        # x * M would not fit int64, x * (M - 2**32) does: the same low word, the high word less x.
        product = c0 * (0xD256D193 - 2**32)
        c0 = c0.add_(product >> 32).bitwise_xor_(c1).bitwise_xor_(key)
        c1 = product.bitwise_and_(LOW)
        key = key + 0x9E3779B9 & LOW
    return c0, c1
