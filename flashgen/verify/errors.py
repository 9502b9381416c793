"""When is a result right? Errors against the fp64 truth, judged beside plain PyTorch's.

Three measures, each at most twice that of plain PyTorch in the same precision plus a floor: the largest
error, the mean error, and the rms error of every row. The mean catches what is a little wrong
everywhere (a P rounded too early), the row what is wrong in one row only (a wrong row maximum).

The floors come from ``rounding.py`` and, for gradients, ``carried.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .oracle import Truth
from .rounding import floors

FACTOR = 2.0  # allowed over plain PyTorch
MEAN_SHARE = 0.1  # the mean of many independent roundings is far below the largest
MEAN_SHARE_OF_GRADIENTS = 0.25  # where one rounding moves a whole row, and all that is summed from it


@dataclass(frozen=True)
class Errors:
    """Largest, mean and worst row's rms of |result - truth|, over the finite elements."""

    max: float
    mean: float
    row_rms: float


@dataclass(frozen=True)
class Finding:
    """One thing wrong: which tensor, by which measure, how much of how much allowed, and where."""

    tensor: str
    measure: str
    error: float
    bound: float
    where: tuple[int, ...] = ()

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        return f"{self.tensor}: {self.measure} {self.error:.3g}, allowed {self.bound:.3g}{place}"


def measure(got: Tensor, true: Tensor) -> Errors:
    """The errors of ``got``; rows are the last axis (for ``lse`` the sequence)."""
    err = _error(got, true)
    if err.numel() == 0:
        return Errors(0.0, 0.0, 0.0)
    return Errors(err.max().item(), err.mean().item(), _rms(err).max().item())


def judge(
    out: Tensor,
    lse: Tensor,
    truth: Truth,
    plain_out: Tensor,
    plain_lse: Tensor,
    tf32: bool = False,
) -> list[Finding]:
    """Everything wrong with ``out`` and ``lse``; an empty list is a pass.

    ``plain_out`` and ``plain_lse`` are plain PyTorch's results on the same tensors.
    """
    out_floor, lse_floor = floors(truth, plain_out.dtype, tf32)
    return [
        *_judge("out", out, truth.out, plain_out, out_floor),
        *_judge("lse", lse, truth.lse, plain_lse, lse_floor),
    ]


def judge_gradients(
    got: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
    plain: Mapping[str, Tensor],
    floors: Mapping[str, Tensor],
    independent: int,
) -> list[Finding]:
    """Everything wrong with gradients by name; an empty list is a pass.

    ``right`` are the true ones, ``plain`` plain PyTorch's on the same tensors, in the dtypes that gradients
    have, ``floors`` those of ``gradient_floors``, ``independent`` the count of ``independent_errors``.
    Gradients are dense, whatever the strides of the tensors.
    """
    found = [Finding(name, "unexpected gradient:", 1, 0) for name in got if name not in right]
    for name, true in right.items():
        if name not in got:
            found.append(Finding(name, "no gradient:", 1, 0))
            continue
        x = got[name]
        if x.dtype != plain[name].dtype:
            found.append(Finding(name, f"dtype {x.dtype} instead of {plain[name].dtype}:", 1, 0))
        if not is_dense(x):
            found.append(Finding(name, f"strides {x.stride()} are not dense:", 1, 0))
        found += _judge(name, x, true, plain[name], floors[name], independent, MEAN_SHARE_OF_GRADIENTS)
    return found


def independent_errors(q: Tensor, v: Tensor, dout: Tensor | None) -> int:
    """How many errors of dS can be independent of each other: lse and delta are off by row of ``q`` (B, Hq,
    Nq, d), and pairs of equal rows of ``dout`` (B, Hq, Nq, dv) and ``v`` (B, Hkv, Nk, dv) have one dP, with
    one rounding."""
    rows = q.shape[:-1].numel()
    return rows if dout is None else min(rows, _distinct_rows(dout) * _distinct_rows(v))


def _distinct_rows(x: Tensor) -> int:
    weights = torch.linspace(1, 2, x.shape[-1], dtype=torch.float64, device=x.device).cos()
    return len(set((x.double() * weights).sum(-1).float().flatten().tolist()))


def is_dense(x: Tensor) -> bool:
    """Whether the elements of ``x`` lie in memory without gaps or overlaps, in any order of dims."""
    step = 1
    for stride, n in sorted((stride, n) for stride, n in zip(x.stride(), x.shape, strict=True) if n > 1):
        if stride != step:
            return False
        step *= n
    return True


def _judge(
    name: str,
    got: Tensor,
    true: Tensor,
    plain: Tensor,
    floor: Tensor,
    most: int | None = None,
    mean_share: float = MEAN_SHARE,
) -> list[Finding]:
    """``most`` is how many errors can be independent of each other, where that is known."""
    if got.shape != true.shape:
        return [Finding(name, f"shape {tuple(got.shape)} instead of {tuple(true.shape)}", 1, 0)]
    if got.numel() == 0:
        return []
    got, true, plain = _held(got, true, plain)
    kinds = _kinds(name, got, true)
    if kinds:
        return kinds
    err, other = _error(got, true), _error(plain, true).nan_to_num(0, 0, 0)
    found = []
    over = err - (FACTOR * other.max() + floor)
    if over.max() > 0:
        at = _argmax(over)
        found.append(Finding(name, "max error", err[at].item(), (err[at] - over[at]).item(), at))
    # Few distinct numbers are few roundings; an error of all logits alike moves every lse alike.
    distinct = torch.unique(true.half()).numel()
    distinct = distinct if most is None else max(min(distinct, most), 1)
    share = 1.0 if name == "lse" else mean_share + (1 - mean_share) / distinct**0.5
    bound = (FACTOR * other.mean() + share * floor.mean()).item()
    if err.mean() > bound:
        found.append(Finding(name, "mean error", err.mean().item(), bound))
    if name != "lse":
        rows = _rms(err) - (FACTOR * _rms(other) + _rms(floor))
        if rows.max() > 0:
            at = _argmax(rows)
            rms = _rms(err)[at].item()
            found.append(Finding(name, "rms error of a row", rms, rms - rows[at].item(), at))
    return found


def _held(got: Tensor, true: Tensor, plain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All in the truth's dtype, none beyond the largest number of the result where the truth is near it."""
    limit = torch.finfo(plain.dtype).max
    near = true.isfinite() & (true.abs() > limit / 2)
    got, plain = (x.detach().to(true) for x in (got, plain))
    got, true, plain = (torch.where(near, x.clamp(-limit, limit), x) for x in (got, true, plain))
    return got, true, plain


def _kinds(name: str, got: Tensor, true: Tensor) -> list[Finding]:
    """NaN and infinities must stand exactly where they belong; where the truth is NaN anything may."""
    defined = ~true.isnan()
    wrong = defined & torch.where(true.isfinite(), ~got.isfinite(), got != true)
    if not wrong.any():
        return []
    at = _argmax(wrong.int())
    return [Finding(name, f"{got[at].item()} instead of {true[at].item():.4g}: error", torch.inf, 0, at)]


def _error(got: Tensor, true: Tensor) -> Tensor:
    return torch.where(true.isfinite(), (got.detach().to(true) - true).abs(), 0)


def _rms(err: Tensor) -> Tensor:
    return err.square().mean(-1).sqrt()


def _argmax(x: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(x.argmax(), x.shape))
