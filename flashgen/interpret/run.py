"""Runs a ``Program`` on torch tensors: the living definition of the physical level, and the CPU backend.

``check=True`` counts (``traffic``) the bytes each tensor is asked for, from the elements really taken, the
operations and what is on chip, and raises ``OutOfBounds`` where an access that its guard lets through leaves
the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from flashgen.expr.evaluate import evaluate_torch
from flashgen.ir.program import Program, Tensor

from .access import OutOfBounds
from .machine import Machine, Value, no_reads
from .sums import total
from .traffic import Traffic


def lengths(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """``B Hq Hkv Nq Nk`` of the tensors ``q`` (B, Hq, Nq, D) and ``k`` (B, Hkv, Nk, D)."""
    q, k = tensors["q"], tensors["k"]
    return {"B": q.shape[0], "Hq": q.shape[1], "Hkv": k.shape[1], "Nq": q.shape[2], "Nk": k.shape[2]}


def run(
    program: Program,
    sides: Mapping[str, int],
    tensors: Mapping[str, torch.Tensor],
    *,
    check: bool = False,
    chunk_bytes: int = 1 << 20,
    traffic: Traffic | None = None,
) -> dict[str, torch.Tensor]:
    """The program's ``out`` tensors for its inputs, on the CPU.

    ``sides`` gives ``BLOCK_M`` and ``BLOCK_N``. Raises ``OutOfBounds`` (a bug of the program) when checking.
    """
    traffic = traffic if traffic is not None else Traffic()
    acc = torch.float64 if tensors["q"].dtype == torch.float64 else torch.float32
    known: dict[str, Value] = {**lengths(tensors), **sides}
    memory = dict(tensors)
    summed = {s.dst for s in program.sums}
    for t in program.tensors:
        if t.role in ("out", "workspace"):
            memory[t.name] = _allocate(t, known, tensors["q"].dtype, acc)
            if t.name in summed:
                memory[t.name].zero_()
    for kernel in program.kernels:
        Machine(kernel, memory, known, acc, tensors["q"].dtype, check, traffic).launch(chunk_bytes)
    for s in program.sums:
        total(s, memory, known, traffic if check else None)
    return {t.name: memory[t.name] for t in program.tensors if t.role == "out"}


def _allocate(t: Tensor, known: Mapping[str, Value], elem: torch.dtype, acc: torch.dtype) -> torch.Tensor:
    shape = [int(evaluate_torch(d, known, no_reads, acc)) for d in t.dims]
    return torch.full(shape, float("nan"), dtype=elem if t.dtype == "elem" else acc)


__all__ = ["OutOfBounds", "Traffic", "lengths", "run"]
