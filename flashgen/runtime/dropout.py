"""``flashgen.keep_mask``: which attention weights the dropout of a seed keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flashgen.errors import TensorError
from flashgen.ir import philox

from .check import check_seed


def keep_mask(
    seed: int | Tensor, shape: Sequence[int], p: float, device: torch.device | str = "cpu"
) -> Tensor:
    """The mask of a call with ``seed=seed`` of a spec with ``dropout: p``: True for a weight that is kept.

    ``shape`` is (batch, heads, seqlen_q, seqlen_k), heads those of q; the result has it, bool, on ``device``,
    where a seed that is a tensor lies too. The definition stands in docs/dropout.md. Raises ``TensorError``
    for what is no seed, no such shape, or no probability in [0, 1).
    """
    where = torch.device(device)
    if isinstance(seed, Tensor):
        where = seed.device if where.type == seed.device.type else where
    sound = check_seed(seed, where)
    if len(shape) != 4 or any(n < 0 for n in shape):
        raise TensorError(f"shape is {tuple(shape)}; expected (batch, heads, seqlen_q, seqlen_k)")
    try:
        philox.threshold(p)
    except ValueError as error:
        raise TensorError(f"p is {p}: {error}") from None
    batch, heads, n_q, n_k = shape
    word = sound.reshape(()) if isinstance(sound, Tensor) else torch.tensor(sound, device=where)
    q, k = torch.arange(n_q, device=where)[:, None], torch.arange(n_k, device=where)
    kept = torch.empty((batch * heads, n_q, n_k), dtype=torch.bool, device=where)
    for number in range(batch * heads):  # a head at a time: the random numbers take 8 bytes a pair
        head = torch.tensor(number, device=where)
        kept[number] = philox.kept(word, head, q, k, p)
    return kept.view(batch, heads, n_q, n_k)
