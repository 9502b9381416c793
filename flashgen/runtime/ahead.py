"""Kernels compiled ahead of the calls that want them: ``attn.warm``, and what ``flashgen build`` leaves.

On a GPU what a call would run is compiled and loaded. For another one, or without any, it is compiled for the
target, and the cache then holds what a call there looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flashgen.backends.triton.specialise import Kind, contiguous, describable_loads
from flashgen.errors import TensorError
from flashgen.ir.workload import Workload

from .cache import entry
from .check import DTYPES
from .layout import results_of
from .signature import Signature, default_dtype, signature
from .source import best_plan, boxes, generated, lowered, selected
from .variants import kinds_of, selection_key

#: What inputs of each type are, where nothing else is said.
INPUTS = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def named_dtype(name: str) -> torch.dtype:
    """The dtype that is called ``name`` (``bf16``). Raises ``TensorError``."""
    found = {n: t for t, n in DTYPES.items()}.get(name)
    if found is None:
        raise TensorError(f"{name!r} is no dtype; one of {', '.join(DTYPES.values())}")
    return found


def workload(q: Workload | Sequence[int], k: Sequence[int] | None = None) -> Workload:
    """The sizes of a call by the shapes of q and k (``k``: as q's). Raises ``TensorError``."""
    if isinstance(q, Workload):
        return q
    k = q if k is None else k
    if len(q) != 4 or len(k) != 4:
        said = f"{list(q)} and {list(k)}"
        raise TensorError(f"expected shapes (batch, heads, seqlen, head_dim) of q and k, got {said}")
    return Workload(q[0], q[1], k[1], q[2], k[2])


def tensors(
    spec: str, schedule: str, w: Workload, dtype: torch.dtype, inputs: Mapping[str, torch.dtype]
) -> dict[str, Tensor]:
    """What a program is given and makes, by name: contiguous, on the meta device."""
    sig = signature(spec)
    sizes = {"batch": w.B, "heads": w.Hq, "kv_heads": w.Hkv, "seqlen_q": w.Nq, "seqlen_k": w.Nk}
    if unknown := set(inputs) - set(sig.names):
        raise TensorError(f"{', '.join(sorted(unknown))}: no input of {sig.name}")

    def rows(heads: int, n: int, d: int) -> Tensor:
        return torch.empty(w.B, heads, n, d, dtype=dtype, device="meta")

    per_row = torch.empty(w.B, w.Hq, w.Nq, dtype=torch.float32, device="meta")
    every = {sig.ours(name): per_row for name in ("dlse", *sig.lse_parts)}
    every |= {sig.ours(name): rows(w.Hq, w.Nq, sig.d_v) for name in ("o", "do")}
    every[sig.ours("seed")] = torch.empty(1, dtype=torch.int64, device="meta")
    every |= {
        "q": rows(w.Hq, w.Nq, sig.d_qk), "k": rows(w.Hkv, w.Nk, sig.d_qk), "v": rows(w.Hkv, w.Nk, sig.d_v)
    }  # fmt: skip
    for i in sig.inputs:
        shape = [sizes[d] if isinstance(d, str) else d for d in i.shape]
        every[i.name] = torch.empty(shape, dtype=inputs.get(i.name, INPUTS[i.type]), device="meta")
    given = {name: every[name] for name in sig.given(schedule)}
    return given | made(sig, schedule, given)


def made(sig: Signature, schedule: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The results of a program, on the meta device."""
    return {
        name: torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        for name, (shape, stride, dtype) in results_of(sig, schedule, given).items()
    }


def warm(
    jobs: Sequence[tuple[str, str]],
    here: str,
    target: str,
    q: Workload | Sequence[int],
    k: Sequence[int] | None,
    dtype: torch.dtype | str | None,
    inputs: Mapping[str, torch.dtype],
) -> None:
    """Compile what calls run: ``jobs`` are specs with schedules, ``here`` is the current device's target."""
    w = workload(q, k)
    if target == "cpu":
        return
    for spec, schedule in jobs:
        name = DTYPES.get(dtype) if isinstance(dtype, torch.dtype) else dtype
        name = name or default_dtype(signature(spec), target)
        if target == here:
            on_device(spec, schedule, w, named_dtype(name), inputs, torch.cuda.current_device())
        else:
            for_target(spec, schedule, w, target, name, inputs)


def on_device(
    spec: str, schedule: str, w: Workload, dtype: torch.dtype, inputs: Mapping[str, torch.dtype], device: int
) -> None:
    """Compile and load what a call of these sizes on CUDA device ``device`` runs. Raises ``PlanError``."""
    from .cuda import CudaAttention
    from .op import program

    attention = program(spec, schedule, on_cuda=True)
    assert isinstance(attention, CudaAttention)
    attention.warm(tensors(spec, schedule, w, dtype, inputs), w, device)


def for_target(
    spec: str,
    schedule: str,
    w: Workload,
    target: str,
    dtype: str | None = None,
    inputs: Mapping[str, torch.dtype] | None = None,
) -> None:
    """Compile for ``target``, which need not be here, what a call of these sizes runs there, and keep it
    where the call looks. Raises ``PlanError`` where the compiler accepts no candidate."""
    from flashgen.plan.select import ahead
    from flashgen.targets.target import load_target

    known = signature(spec)
    dtype = dtype or default_dtype(known, target)
    kinds = kinds_of(tensors(spec, schedule, w, named_dtype(dtype), inputs or {}), known.names)
    described = describable_loads(boxes(spec, schedule), kinds)
    plan = best_plan(spec, target, dtype, w, schedule, described)
    program = lowered(spec, schedule).program
    every: dict[str, Kind] = contiguous(program, dtype) | kinds
    compile = ahead(program, load_target(target), lambda p: generated(spec, p), kinds=every)

    def search() -> dict[str, str]:
        best = replace(selected(spec, plan, described, compile), compiled=None)
        if best.kernels != plan.kernels:  # in the module that a call reads
            compile([(i, best) for i in range(len(best.kernels))])
        return {"plan.json": best.to_json()}

    entry(selection_key(spec, plan, described, kinds), search, alone=True)
