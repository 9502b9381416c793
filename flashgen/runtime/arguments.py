"""A kernel's argument list from the tensors and lengths of a call.

Pointers are filled in last, at each launch; everything else depends on shapes and strides only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flashgen.backends.triton.emit.source import Arg
from flashgen.errors import TensorError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan

#: The types of pointed-to elements, as Triton's signatures name them.
POINTERS: Mapping[torch.dtype, str] = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}
OFFSETS = 2**31


def values(
    args: Sequence[Arg], strides: Mapping[str, Sequence[int]], work: Workload, plan: Plan, kernel: int
) -> list[int | float | None]:
    """The values of kernel number ``kernel``'s arguments, None in place of each pointer and descriptor."""
    lengths = work.names()
    out: list[int | float | None] = []
    for a in args:
        if a.kind in ("ptr", "descriptor"):
            out.append(None)
        elif a.kind == "stride":
            out.append(strides[a.tensor or ""][a.dim or 0])
        elif a.kind == "length":
            out.append(lengths[a.name])
        elif a.kind == "group":
            out.append(plan.group_for(kernel, work))
        elif a.value is not None:
            out.append(a.value)
        else:
            raise AssertionError(f"argument {a.name} of kind {a.kind} has no value")
    return out


def check_reach(args: Sequence[Arg], tensors: Mapping[str, Tensor]) -> None:
    """Raise ``TensorError`` where an offset inside a tile would not fit 32 bits."""
    span: dict[str, int] = {}
    for a in args:
        if a.kind == "stride" and a.tensor and a.tensor in tensors and a.dim is not None:
            span[a.tensor] = span.get(a.tensor, 0) + a.reach * tensors[a.tensor].stride(a.dim)
    for name, elements in span.items():
        if elements >= OFFSETS:
            raise TensorError(
                f"{name} has strides {list(tensors[name].stride())}: a tile would span {elements} elements, "
                f"and offsets inside a tile are 32-bit. {name}.contiguous() would work"
            )
