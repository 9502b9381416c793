"""``torch.autocast``: q, k and v are cast to its dtype, as scaled_dot_product_attention casts them.

A spec's inputs keep their dtype: kernels compute with them in fp32, and so their gradients are. Nothing is
cast for a spec that is not declared for the dtype, nor are fp64 tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import op
from .check import DTYPES
from .signature import signature

CAST = (torch.float16, torch.bfloat16, torch.float32)


def cast(spec: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as autocast would have them, where it is enabled for their device."""
    device = tensors[0].device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    if DTYPES.get(dtype) not in signature(spec).dtypes:
        return tensors
    return tuple(t.to(dtype) if t.dtype in CAST and t.device.type == device else t for t in tensors)


def _kernel(key: str) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def kernel(q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str, seed: Tensor | None) -> Any:
        q, k, v = cast(spec, q, k, v)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return op.attention(q, k, v, inputs, spec, seed)

    return kernel


for _key in ("AutocastCPU", "AutocastCUDA"):
    op.library.impl("attention", _kernel(_key), _key)
