"""Tensor descriptors made on the host (TMA): which tensors they can read, and the argument of a launch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

#: Strides of a descriptor are multiples of this many bytes, and below 2**40.
STRIDE_BYTES = 16
STRIDE_LIMIT = 1 << 40


class Descriptor:
    """What Triton's launcher reads of a ``TensorDescriptor``, for an address instead of a tensor."""

    __slots__ = ("pointer", "shape", "strides")
    padding = "zero"

    def __init__(self, pointer: int, shape: Sequence[int], strides: Sequence[int]) -> None:
        self.pointer = pointer
        self.shape = shape
        self.strides = strides

    @property
    def base(self) -> Descriptor:
        """The tensor, of which only the address is asked."""
        return self

    def data_ptr(self) -> int:
        """The address."""
        return self.pointer


def described(t: Tensor) -> tuple[list[int], list[int]]:
    """Shape and strides of ``t`` for a descriptor, that of a dim of size 1, which is free, made fit."""
    unit = STRIDE_BYTES // t.element_size()
    strides = [s if n > 1 else unit for n, s in zip(t.shape, t.stride(), strict=True)]
    return list(t.shape), [*strides[:-1], 1]


def describable(t: Tensor) -> bool:
    """Whether a descriptor can read ``t`` (its address aside): rows contiguous, other strides whole
    multiples of 16 bytes and not 0, no dim empty."""
    _, strides = described(t)
    steps = [s * t.element_size() for s in strides[:-1]]
    fits = all(0 < s < STRIDE_LIMIT and s % STRIDE_BYTES == 0 for s in steps)
    return fits and t.stride(-1) == 1 and t.numel() > 0
