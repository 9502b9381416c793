"""What rounding alone may do to a result: the floors under the bounds of ``errors.py``.

They are what an honest kernel may be off where plain PyTorch happens to be exact. With u the ulp of the
tensors' dtype and a that of the accumulators, an element of ``out`` may be off by u P|V| (rounding of P
and of the result), by a sqrt(n) P|V| (a sum over n keys) and by a condition P|V| (rounding of the logits);
``lse`` by a (condition + |lse| + 1). ``lse`` is stored in fp32, of fp64 tensors in fp64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .oracle import Truth

ROUNDINGS = 4.0  # roundings in a row behind a logit, of which plain may happen to be spared
APPROXIMATE = 2.0**-10  # of tanh in 16-bit kernels: PTX's tanh.approx.f32 is within 2^-11
TF32 = 2.0**-10


@dataclass(frozen=True)
class Precision:
    """Relative errors of one rounding: of a stored element, of a sum's step, and of an operand of a dot.

    ``products`` is that of a sum of products; ``tiny`` is absolute, of elements too small to be normal.
    """

    unit: float
    sums: float
    products: float
    tiny: float
    half: bool

    @property
    def operand(self) -> float:
        """Of an element as a dot takes it."""
        return max(self.unit, self.products)

    @staticmethod
    def of(dtype: torch.dtype, tf32: bool = False) -> Precision:
        """That of tensors of ``dtype``."""
        sums = _eps(torch.promote_types(dtype, torch.float32))
        tiny = torch.finfo(dtype).smallest_normal
        if dtype == torch.float16:  # its subnormals are in use, those of others may be flushed to zero
            tiny *= torch.finfo(dtype).eps
        return Precision(
            unit=_eps(dtype),
            sums=sums,
            products=TF32 if tf32 and dtype == torch.float32 else sums,
            tiny=tiny,
            half=dtype in (torch.float16, torch.bfloat16),
        )


def _eps(dtype: torch.dtype) -> float:
    # The truth is itself fp64: in fp64 both sides round, over whole sums.
    return torch.finfo(dtype).eps * (64 if dtype == torch.float64 else 1)


def floors(truth: Truth, dtype: torch.dtype, tf32: bool = False) -> tuple[Tensor, Tensor]:
    """What rounding alone may do, per element: of ``out`` and of ``lse``."""
    p = Precision.of(dtype, tf32)
    logit = ROUNDINGS * p.products * truth.condition
    if p.half:
        logit = logit + APPROXIMATE * truth.bounded
    tiny = torch.finfo(dtype).smallest_normal  # results below it are rounded absolutely
    sums = 2 * p.sums * truth.visible.sum(-1).sqrt()
    # Where a logit may be off by more than 1, P may be anything.
    off = (max(p.unit, p.products) + sums)[..., None] * truth.magnitude
    moved = logit[..., None] * truth.magnitude
    out = off + torch.where(logit[..., None] < 1, moved, truth.largest) + tiny
    if not truth.lse.numel():
        return out, torch.zeros_like(truth.lse)
    size = truth.lse.nan_to_num(0, 0, 0).abs()
    return out, logit + ROUNDINGS * p.sums * 2 + (ROUNDINGS + 1) * p.sums * size
