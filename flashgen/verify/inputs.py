"""Tensors that find bugs: distributions of the logits, and layouts in memory.

A row maximum that starts at 0 passes on random tensors and fails when all logits are negative; an
off-by-one window hides in a mean and shows in a constant. So there are several distributions, and every
tensor can lie in memory in every way a user's may, with NaN around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Draw:
    """What a distribution needs to know: random numbers, shapes, and the scale of the logits."""

    gen: Generator
    q: Shape
    k: Shape
    v: Shape
    scale: float

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Normal numbers, fp32 on the CPU: the same for every device and dtype."""
        return torch.randn(shape, generator=self.gen)


QKV = tuple[Tensor, Tensor, Tensor]


def randn(d: Draw) -> QKV:
    """Normal q, k, v."""
    return d.randn(d.q), d.randn(d.k), d.randn(d.v)


def negative(d: Draw) -> QKV:
    """Every logit below zero, by far: a running maximum that starts at 0 is wrong."""
    sign = -1 if d.scale >= 0 else 1
    return d.randn(d.q).abs() + 0.5, sign * (d.randn(d.k).abs() + 0.5), d.randn(d.v)


def huge(d: Draw) -> QKV:
    """Logits of both signs, the largest about 2.5e5."""
    q, k, v = randn(d)
    return _logits_to(2.5e5, q, k, v, d.scale)


def huge_negative(d: Draw) -> QKV:
    """Every logit below zero, the lowest about -2.5e5."""
    q, k, v = negative(d)
    return _logits_to(2.5e5, q, k, v, d.scale)


def constant(d: Draw) -> QKV:
    """All logits equal: P is uniform over the visible keys and lse counts them."""
    return torch.full(d.q, 0.25), torch.full(d.k, 0.5), d.randn(d.v[:1] + d.v[1:2] + (1, 1)).expand(d.v)


def one_hot(d: Draw) -> QKV:
    """Each query points at one key, and row k of V is the unit vector k mod Dv: out shows P itself."""
    q, k = torch.zeros(d.q), torch.zeros(d.k)
    for x, push in ((q, 7), (k, 1)):
        n, width = x.shape[2:]
        rows = torch.arange(n)
        x[:, :, rows, rows * push % max(width, 1)] = (8.0 / max(abs(d.scale), 1e-6)) ** 0.5
    return q, k, eye_rows(d.v)


def zero_q(d: Draw) -> QKV:
    """q = 0: with the score ``s``, exp(lse) is the number of visible keys, exactly."""
    return torch.zeros(d.q), d.randn(d.k), eye_rows(d.v)


def eye_rows(shape: tuple[int, ...]) -> Tensor:
    """Row k is the unit vector k mod the width."""
    v = torch.zeros(shape)
    rows = torch.arange(shape[2])
    v[:, :, rows, rows % max(shape[3], 1)] = 1
    return v


def _logits_to(top: float, q: Tensor, k: Tensor, v: Tensor, scale: float) -> QKV:
    if q.numel() == 0 or k.numel() == 0 or scale == 0:
        return q, k, v
    group = q.shape[1] // k.shape[1]
    largest = (q @ k.repeat_interleave(group, dim=1).mT).abs().max() * abs(scale)
    factor = (top / largest.clamp(min=1e-6)).sqrt()
    return q * factor, k * factor, v


DISTRIBUTIONS: dict[str, Callable[[Draw], QKV]] = {
    f.__name__: f for f in (randn, negative, huge, huge_negative, constant, one_hot, zero_q)
}


#: What a line of a bias may hold, along its last dim: None is the number that was drawn.
LINES: tuple[tuple[float | None, ...], ...] = (
    (None,),
    (-1e9,),
    (torch.finfo(torch.float32).min,),
    (None, -1e9),
    (torch.finfo(torch.float32).min, None, None),
    (3e38, None, None, None, None),
    (1e9,),
)


def large(x: Tensor, first: int) -> Tensor:
    """``x`` with lines of numbers as masks are made of, and as large as fp32, or its dtype, holds; ``first``
    is the first line's place in ``LINES``."""
    if not x.numel():
        return x
    lines = x.clone().reshape(-1, x.shape[-1] if x.dim() else 1)
    most = torch.finfo(x.dtype).max
    for i, line in enumerate(lines):
        kind = LINES[(first + i) % len(LINES)]
        for at, value in enumerate(kind):
            if value is not None:
                line[at :: len(kind)] = max(-most, min(most, value))
    return lines.view(x.shape)


def contiguous(x: Tensor) -> Tensor:
    """Rows one after another."""
    return x.clone(memory_format=torch.contiguous_format)


def transposed(x: Tensor) -> Tensor:
    """A (batch, heads, seqlen, width) view of a (batch, seqlen, heads, width) tensor."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)


def packed(x: Tensor) -> Tensor:
    """The middle slice of a (batch, seqlen, 3, heads, width) tensor, as a fused projection leaves it."""
    b, h, n, d = x.shape
    buffer = x.new_full((b, n, 3, h, d), torch.nan)
    buffer[:, :, 1] = x.transpose(1, 2)
    return buffer[:, :, 1].transpose(1, 2)


def sliced(x: Tensor) -> Tensor:
    """A window, off in every dimension, of a larger tensor; still 16-byte aligned."""
    return _inside(x, 8)


def misaligned(x: Tensor) -> Tensor:
    """As ``sliced``, starting one element off a 16-byte boundary, with odd strides."""
    return _inside(x, 1)


def broadcast(x: Tensor) -> Tensor:
    """Stride 0 over the batch where all its entries are equal (``case.make`` makes them so)."""
    return contiguous(x[:1]).expand(x.shape) if x.shape[0] > 1 else contiguous(x)


def expanded(x: Tensor) -> Tensor:
    """One element for all, with stride 0 in every dim: what arrives behind ``out.sum()``."""
    return x.flatten()[:1].clone().view(()).expand(x.shape) if x.numel() else contiguous(x)


def _inside(x: Tensor, left: int) -> Tensor:
    b, h, n, d = x.shape
    buffer = x.new_full((b + 1, h + 2, n + 3, left + d + left), torch.nan)
    view = buffer[1 : b + 1, 1 : h + 1, 2 : n + 2, left : left + d]
    view.copy_(x)
    return view


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    f.__name__: f for f in (contiguous, transposed, packed, sliced, misaligned, broadcast)
}
#: Layouts of the gradient that arrives at a result.
ARRIVING = LAYOUTS | {"expanded": expanded}
