"""A generated module in Triton's interpreter, on CPU tensors: the very text that a GPU would run.

The process must have been started with ``TRITON_INTERPRET=1``, and can then compile nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flashgen.errors import FlashgenError
from flashgen.plan.plan import Workload

from .arguments import values
from .check import check, named
from .layout import lse_strides, out_strides
from .module import load
from .record import Record, value
from .signature import Signature
from .variants import element


def run_interpreted(
    record: Record, sig: Signature, q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """``(out, lse)`` of a generated module. Launches what the runtime launches on a GPU.

    Results start as NaN, so that an element nobody writes shows. Raises ``TensorError`` for tensors that do
    not fit, ``FlashgenError`` in a process that was not started for the interpreter, and for bfloat16, which
    the interpreter computes wrongly.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise FlashgenError("Triton's interpreter runs in a process started with TRITON_INTERPRET=1")
    if q.dtype == torch.bfloat16:
        raise FlashgenError("Triton's interpreter computes bfloat16 wrongly; use float16 or float32")
    listed = named(sig, inputs)
    check(sig, q, k, v, listed)
    work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
    shape = (*q.shape[:3], sig.d_v)
    out = torch.empty_strided(shape, out_strides(q.shape, q.stride(), sig.d_v), dtype=q.dtype)
    lse = torch.empty_strided(shape[:3], lse_strides(q.shape), dtype=torch.float32)
    if work.Nk == 0 or 0 in shape:
        return out.zero_(), lse.fill_(-torch.inf)
    tensors = {"q": q, "k": k, "v": v, **dict(zip(sig.names, listed, strict=True)), "o": out, "lse": lse}
    for w in record.workspaces:
        dims = [value(d, work.names()) for d in w.dims]
        tensors[w.name] = torch.empty(dims, dtype=element(w, q.dtype))
    for name in ("o", "lse", *(w.name for w in record.workspaces)):
        tensors[name].fill_(torch.nan)
    strides = {name: t.stride() for name, t in tensors.items()}
    module = load(record.path, record.text)
    for n, kernel in enumerate(record.kernels):
        given: list[Any] = list(values(kernel.args, strides, work, record.plan, n))
        for i, a in enumerate(kernel.args):
            if a.kind == "ptr":
                given[i] = tensors[a.tensor or ""]
        getattr(module, kernel.name)[(kernel.programs(work.names()),)](*given)
    return out, lse
