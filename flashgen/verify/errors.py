"""When is a result right? Errors against the fp64 truth, judged beside plain PyTorch's.

Three measures, each at most twice that of plain PyTorch in the same precision plus a floor: the largest
error, the mean error, and the rms error of every row. The mean catches what is a little wrong
everywhere (a P rounded too early), the row what is wrong in one row only (a wrong row maximum).

The floor is what rounding can do where plain PyTorch happens to be exact. With u the ulp of the tensors'
dtype and a that of the accumulators, an element of ``out`` may be off by u P|V| (rounding of P and of
the result), by a sqrt(n) P|V| (a sum over n keys) and by a condition P|V| (rounding of the logits);
``lse`` by a (condition + |lse| + 1).
``lse`` is stored in fp32 whatever the dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .oracle import Truth

FACTOR = 2.0  # allowed over plain PyTorch
ROUNDINGS = 4.0  # roundings in a row behind a logit, of which plain may happen to be spared
APPROXIMATE = 2.0**-10  # of tanh in 16-bit kernels: PTX's tanh.approx.f32 is within 2^-11
MEAN_SHARE = 0.1  # the mean of many independent roundings is far below the largest


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


def floors(truth: Truth, dtype: torch.dtype, tf32: bool = False) -> tuple[Tensor, Tensor]:
    """What rounding alone may do, per element: of ``out`` and of ``lse``."""
    u = _eps(dtype)
    a = _eps(torch.promote_types(dtype, torch.float32))
    stored = torch.finfo(torch.float32).eps  # lse is fp32 for every dtype
    dot = 2.0**-10 if tf32 and dtype == torch.float32 else a
    logit = ROUNDINGS * dot * truth.condition
    if dtype in (torch.float16, torch.bfloat16):
        logit = logit + APPROXIMATE * truth.bounded
    tiny = torch.finfo(dtype).smallest_normal  # results below it are rounded absolutely
    sums = 2 * a * truth.visible.sum(-1).sqrt()
    out = (max(u, dot) + sums + logit)[..., None] * truth.magnitude + tiny
    size = truth.lse.nan_to_num(0, 0, 0).abs()
    return out, logit + ROUNDINGS * a * 2 + (ROUNDINGS * a + stored) * size


def _eps(dtype: torch.dtype) -> float:
    # The truth is itself fp64: in fp64 both sides round, over whole sums.
    return torch.finfo(dtype).eps * (64 if dtype == torch.float64 else 1)


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


def _judge(name: str, got: Tensor, true: Tensor, plain: Tensor, floor: Tensor) -> list[Finding]:
    if got.shape != true.shape:
        return [Finding(name, f"shape {tuple(got.shape)} instead of {tuple(true.shape)}", 1, 0)]
    if got.numel() == 0:
        return []
    got = got.detach().to(true)
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
    share = 1.0 if name == "lse" else MEAN_SHARE + (1 - MEAN_SHARE) / distinct**0.5
    bound = (FACTOR * other.mean() + share * floor.mean()).item()
    if err.mean() > bound:
        found.append(Finding(name, "mean error", err.mean().item(), bound))
    if name == "out":
        rows = _rms(err) - (FACTOR * _rms(other) + _rms(floor))
        if rows.max() > 0:
            at = _argmax(rows)
            rms = _rms(err)[at].item()
            found.append(Finding(name, "rms error of a row", rms, rms - rows[at].item(), at))
    return found


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
