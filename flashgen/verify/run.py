"""Ways to run a spec on tensors: as a user does, the ``Program`` at given tile sides, the generated kernel
at given tile sides. Each returns ``out`` and ``lse``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

if TYPE_CHECKING:
    from flashgen.driver import Lowered

#: Runs a spec on q, k, v and inputs: ``out`` and ``lse``.
Run: TypeAlias = Callable[
    [AttentionSpec, Tensor, Tensor, Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]
]
#: BLOCK_M and BLOCK_N; (0, 0) leaves them to the planner.
Tile: TypeAlias = tuple[int, int]
PLANNED: Tile = (0, 0)
#: What the interpreted kernel is planned for where no tile is given.
TARGET = "h100"
NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64"}


def compiled(
    spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """What a user calls: ``flashgen.compile(spec)`` on the tensors, wherever they are."""
    import flashgen

    return flashgen.compile(spec)(q, k, v, return_lse=True, **inputs)


def program(tile: Tile, schedule: str = "flash2") -> Run:
    """The ``Program`` of a schedule in the interpreter with tiles of this size, checking every access."""

    def run(
        spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        from flashgen.ir import interpret

        sides = {"BLOCK_M": tile[0], "BLOCK_N": tile[1]}
        tensors = {"q": q, "k": k, "v": v, **inputs}
        found = interpret.run(_lowered(spec.canonical_json(), schedule).program, sides, tensors, check=True)
        return found["o"], found["lse"].to(torch.float32)

    return run


def generated(tile: Tile, interpreted: bool, num_warps: int = 4, num_stages: int = 2, seed: int = 0) -> Run:
    """The generated module, by its own ``forward``; ``seed`` varies the order of its programs."""

    def run(
        spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        if q.numel() == 0:  # a launch of no programs is the caller's to leave out
            return q.new_empty(*q.shape[:3], spec.d_v), q.new_empty(q.shape[:3], dtype=torch.float32)
        text = spec.canonical_json()
        module = _module(text, NAMES[q.dtype], tile, interpreted, num_warps, num_stages, seed)
        out, lse = module.forward(q, k, v, *(inputs[name] for name in spec.inputs))
        return out, lse

    return run


@cache
def _lowered(spec: str, schedule: str) -> Lowered:
    from flashgen.driver import lower_spec

    return lower_spec(AttentionSpec.from_json(spec), schedule)


@cache
def _module(
    spec: str, dtype: str, tile: Tile, interpreted: bool, num_warps: int, num_stages: int, seed: int
) -> ModuleType:
    from flashgen.emit.source import Provenance
    from flashgen.emit.triton import emit
    from flashgen.plan.plan import KernelPlan, Order, Plan, Workload
    from flashgen.runtime.module import load
    from flashgen.runtime.source import best_plan

    source = _lowered(spec, "flash2").program
    if tile == PLANNED:
        plan = best_plan(spec, TARGET, dtype, Workload(1, 2, 2, 128, 128))
    else:
        kernels = []
        for kernel in source.kernels:
            axes = tuple(a.name for a in kernel.grid)
            axes = axes[seed % 3 :] + axes[: seed % 3]
            order = Order(axes, reverse=axes[-1:] if seed % 2 else (), group=seed % 2)
            sides = (("BLOCK_M", tile[0]), ("BLOCK_N", tile[1]))
            kernels.append(KernelPlan(sides, num_warps, num_stages, order))
        plan = Plan(source.schedule, TARGET, dtype, tuple(kernels), 0, 0, 0.0)
    if interpreted:
        plan = plan.portable()
    code = emit(source, plan, Provenance(spec)).text
    name = hashlib.sha256(code.encode()).hexdigest()[:16]
    return load(Path(f"<flashgen verify {name}>"), code)
