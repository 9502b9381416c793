"""A generated module in Triton's interpreter, on CPU tensors: the very text that a GPU would run.

The process must have been started with ``TRITON_INTERPRET=1``, and can then compile nothing.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from flashgen.errors import FlashgenError
from flashgen.interpret.sums import total
from flashgen.ir.workload import Workload

from .arguments import values
from .check import check_call
from .integers import check_integers
from .layout import nothing, nothing_to_do, results_of
from .module import load
from .record import Record, value
from .signature import Signature
from .variants import element


def run_interpreted(record: Record, sig: Signature, *given: Tensor) -> list[Tensor]:
    """The results of a generated module for the tensors that its schedule is given (``Signature.given``).
    Launches what the runtime launches on a GPU.

    Results start as NaN, so that an element nobody writes shows. Raises ``TensorError`` for tensors that do
    not fit, ``FlashgenError`` in a process that was not started for the interpreter, and for bfloat16, which
    the interpreter computes wrongly.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise FlashgenError("Triton's interpreter runs in a process started with TRITON_INTERPRET=1")
    schedule = record.plan.schedule
    tensors = check_call(sig, schedule, given)
    check_integers(sig, tensors)
    q, k = tensors["q"], tensors["k"]
    if q.dtype == torch.bfloat16:
        raise FlashgenError("Triton's interpreter computes bfloat16 wrongly; use float16 or float32")
    made = results_of(sig, schedule, tensors)
    results = {n: torch.empty_strided(shape, stride, dtype=d) for n, (shape, stride, d) in made.items()}
    if nothing_to_do(sig, schedule, tensors):
        return [t.fill_(nothing(name)) for name, t in results.items()]
    work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
    lengths = work.names()
    spaces = {
        w.name: torch.empty([value(d, lengths) for d in w.dims], dtype=element(w, q.dtype))
        for w in record.workspaces
    }
    summed = {s.dst for s in record.sums}
    for name, t in {**results, **spaces}.items():
        t.fill_(0.0 if name in summed else torch.nan)
    tensors |= {**results, **spaces}
    strides = {name: t.stride() for name, t in tensors.items()}
    module = load(record.path, record.text)
    for n, kernel in enumerate(record.kernels):
        arguments: list[Any] = list(values(kernel.args, strides, work, record.plan, n))
        for i, a in enumerate(kernel.args):
            if a.kind == "ptr":
                arguments[i] = tensors[a.tensor or ""]
        getattr(module, kernel.name)[(kernel.programs(lengths),)](*arguments)
    for s in record.sums:
        total(s, tensors, lengths)
    return list(results.values())
