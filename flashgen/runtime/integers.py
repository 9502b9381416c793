"""The values of int64 inputs. Kernels read 32 bits of an int, so what those do not hold is refused.

On a GPU the test is queued like a kernel and stops the device where it fails: nothing waits for it. A tensor
is looked at again when torch has changed it; while a CUDA graph is captured always, so that replays look too.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import torch
from torch import Tensor

from flashgen.errors import TensorError

from .signature import Signature

LOWEST, HIGHEST = -(2**31), 2**31 - 1
#: Tensors whose values fit, by identity, each with its version.
_fitting: dict[int, tuple[weakref.ref[Tensor], int]] = {}


def check_integers(sig: Signature, given: Mapping[str, Tensor]) -> None:
    """``check_values`` of every int input of a call."""
    for decl in sig.inputs:
        if decl.type == "int":
            check_values(decl.name, given[decl.name])


def check_values(name: str, t: Tensor) -> None:
    """Raise ``TensorError`` for an int64 tensor on the CPU with a value beyond int32; on a GPU the device
    stops, with the same words."""
    if t.dtype != torch.int64 or t.numel() == 0:
        return
    version = None if t.is_inference() or _captured(t) else t._version
    seen = _fitting.get(id(t))
    if seen is not None and seen[0]() is t and seen[1] == version:
        return
    once = t[tuple(slice(0, 1) if step == 0 else slice(None) for step in t.stride())]
    low, high = torch.aminmax(once)
    if t.device.type == "cpu":
        _refuse(name, int(low), int(high))
    else:
        torch._assert_async((low >= LOWEST) & (high <= HIGHEST), f"{name} {_BEYOND}")
    if version is not None:
        key = id(t)
        _fitting[key] = weakref.ref(t, lambda _: _fitting.pop(key, None)), version


_BEYOND = (
    "holds a value beyond int32, -2**31 to 2**31 - 1; ids may be renumbered (torch.unique(x, "
    "return_inverse=True)), times counted from the first, lengths clamped"
)


def _refuse(name: str, low: int, high: int) -> None:
    if low < LOWEST or high > HIGHEST:
        raise TensorError(f"{name} {_BEYOND}. Here it has {low if low < LOWEST else high}")


def _captured(t: Tensor) -> bool:
    return t.is_cuda and torch.cuda.is_current_stream_capturing()
