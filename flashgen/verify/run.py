"""Ways to run a spec on tensors: as a user does, the ``Program`` at given tile sides, the generated kernel
at given tile sides. Each returns ``out`` and ``lse``; each has a ``…_backward`` that returns gradients.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from flashgen.runtime.signature import backward_schedule, signature
from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import WEIGHTS

from .gradients import gradients_of, learned
from .oracle import dense
from .plain import plain_results

if TYPE_CHECKING:
    from flashgen.driver import Lowered

#: Runs a spec on q, k, v and inputs, and ``seed=`` where the spec has dropout: ``out`` and ``lse``.
Run: TypeAlias = Callable[..., tuple[Tensor, Tensor]]
#: Runs a spec on q, k, v, inputs, dout, dlse (either may be None), and ``seed=`` where the spec has dropout:
#: the gradients ``dq dk dv`` and ``d<name>`` of every learned input.
RunBackward: TypeAlias = Callable[..., dict[str, Tensor]]
#: BLOCK_M and BLOCK_N; (0, 0) leaves them to the planner.
Tile: TypeAlias = tuple[int, int]
PLANNED: Tile = (0, 0)
#: What the interpreted kernel is planned for where no tile is given.
TARGET = "h100"
NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64"}


def compiled(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What a user calls: ``flashgen.compile(spec)`` on the tensors, wherever they are."""
    import flashgen

    given: dict[str, Any] = dict(inputs) if seed is None else {**inputs, "seed": seed}
    if "lse" not in WEIGHTS[spec.row].left:
        return with_lse(flashgen.compile(spec)(q, k, v, **given))
    out, lse = flashgen.compile(spec)(q, k, v, return_lse=True, **given)
    return out, lse


def with_lse(out: Tensor, lse: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both results; ``lse`` without elements where there is none."""
    return out, out.new_empty(0, dtype=torch.promote_types(out.dtype, torch.float32)) if lse is None else lse


def program(tile: Tile, schedule: str = "flash2") -> Run:
    """The ``Program`` of a schedule in the interpreter with tiles of this size, checking every access."""

    def run(
        spec: AttentionSpec,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inputs: Mapping[str, Tensor],
        seed: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        from flashgen.interpret import run as interpret

        sides = {"BLOCK_M": tile[0], "BLOCK_N": tile[1]}
        given = (q, k, v, *(inputs[n] for n in spec.inputs), *_seed(seed, q).values())
        source = _lowered(spec.canonical_json(), schedule).program
        found = interpret.run(source, sides, dict(zip(source.given, given, strict=True)), check=True)
        return with_lse(found["o"], found.get("lse"))

    return run


def generated(
    tile: Tile,
    interpreted: bool,
    num_warps: int = 4,
    num_stages: int = 2,
    seed: int = 0,
    schedule: str = "flash2",
) -> Run:
    """The generated module, by its own ``forward``; ``seed`` varies the order of its programs."""
    order = seed

    def run(
        spec: AttentionSpec,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inputs: Mapping[str, Tensor],
        seed: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        if q.numel() == 0:  # a launch of no programs is the caller's to leave out
            lse = q.new_empty(q.shape[:3], dtype=torch.float32) if WEIGHTS[spec.row].left else None
            return with_lse(q.new_empty(*q.shape[:3], spec.d_v), lse)
        text = spec.canonical_json()
        module = _module(text, schedule, NAMES[q.dtype], tile, interpreted, num_warps, num_stages, order)
        read = (inputs[name] for name in spec.inputs)
        found = module.forward(q, k, v, *read, *_seed(seed, q).values())
        return with_lse(found) if isinstance(found, Tensor) else found[:2]

    return run


def compiled_backward(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    dout: Tensor | None,
    dlse: Tensor | None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """Gradients as a user gets them: ``out`` and ``lse`` of ``flashgen.compile(spec)`` by autograd."""

    def attend(q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        out, lse = compiled(spec, q, k, v, inputs, seed)
        if not (out.requires_grad and (lse.requires_grad or not lse.numel())):
            raise AssertionError("a result of learned tensors is not differentiable")
        return out, lse

    return gradients_of(attend, spec, q, k, v, inputs, dout, dlse)


def program_backward(tile: Tile, schedule: str = "backward") -> RunBackward:
    """The ``Program`` of a backward schedule in the interpreter, checking every access."""

    def run(
        spec: AttentionSpec,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inputs: Mapping[str, Tensor],
        dout: Tensor | None,
        dlse: Tensor | None,
        seed: int | None = None,
    ) -> dict[str, Tensor]:
        from flashgen.interpret import run as interpret

        do, above, left = _saved(spec, q, k, v, inputs, dout, dlse, seed)
        source = _lowered(spec.canonical_json(), backward_schedule(dlse is not None, schedule)).program
        read = (inputs[n] for n in spec.inputs)
        given = (do, *above.values(), q, k, v, *read, *left.values(), *_seed(seed, q).values())
        sides = {"BLOCK_M": tile[0], "BLOCK_N": tile[1]}
        found = interpret.run(source, sides, dict(zip(source.given, given, strict=True)), check=True)
        names = ("d" + n for n in ("q", "k", "v", *learned(spec)))
        return _stored({n: found[result] for n, result in zip(names, source.results, strict=True)}, inputs)

    return run


def generated_backward(
    tile: Tile,
    interpreted: bool,
    num_warps: int = 4,
    num_stages: int = 2,
    seed: int = 0,
    schedule: str = "backward",
) -> RunBackward:
    """The generated module of a backward schedule, by its own ``backward``; ``seed`` varies the order."""
    order = seed

    def run(
        spec: AttentionSpec,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inputs: Mapping[str, Tensor],
        dout: Tensor | None,
        dlse: Tensor | None,
        seed: int | None = None,
    ) -> dict[str, Tensor]:
        given = {"q": q, "k": k, "v": v} | {n: inputs[n] for n in learned(spec)}
        if q.numel() == 0:
            return {"d" + n: x.new_zeros(x.shape) for n, x in given.items()}
        do, above, left = _saved(spec, q, k, v, inputs, dout, dlse, seed)
        text, name = spec.canonical_json(), backward_schedule(dlse is not None, schedule)
        module = _module(text, name, NAMES[q.dtype], tile, interpreted, num_warps, num_stages, order)
        read = [inputs[name] for name in spec.inputs]
        saved = (*left.values(), *_seed(seed, q).values())
        found = module.backward(do, *above.values(), q, k, v, *read, *saved)
        return _stored(dict(zip(("d" + n for n in given), found, strict=True)), inputs)

    return run


def _saved(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    dout: Tensor | None,
    dlse: Tensor | None,
    seed: int | None,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """dO, dlse if there is one, and O with the parts of lse as a backward takes them, which an honest forward
    made."""
    if q.dtype == torch.float64:
        found = dense(spec, q, k, v, inputs, seed=seed)
        o, lse, rest = found.out, found.lse, found.rest
    else:
        o, lse, rest = plain_results(spec, q, k, v, inputs, seed=seed)
    results = {"o": o, "lse": lse, "lse_lo": rest * math.log2(math.e)}
    left = {name: results[name] for name in signature(spec.canonical_json()).saved}
    do = torch.zeros_like(o) if dout is None else dout
    do = do if do.stride(-1) == 1 else do.contiguous()
    return do, {} if dlse is None else {"dlse": dlse.contiguous()}, left


def _stored(found: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients in the dtypes of their tensors: kernels leave those of inputs as they were summed."""
    return {n: x.to(inputs[n[1:]].dtype) if n[1:] in inputs else x for n, x in found.items()}


def _seed(seed: int | None, like: Tensor) -> dict[str, Tensor]:
    """Dropout's seed as kernels take it."""
    return {} if seed is None else {"seed": torch.tensor([seed], dtype=torch.int64, device=like.device)}


@cache
def _lowered(spec: str, schedule: str) -> Lowered:
    from flashgen.driver import lower_spec

    return lower_spec(AttentionSpec.from_json(spec), schedule)


@cache
def _module(
    spec: str,
    schedule: str,
    dtype: str,
    tile: Tile,
    interpreted: bool,
    num_warps: int,
    num_stages: int,
    seed: int,
) -> ModuleType:
    from flashgen.driver import plan_for
    from flashgen.ir.workload import Workload
    from flashgen.plan.backend import backend_named
    from flashgen.plan.plan import KernelPlan, Order, Plan
    from flashgen.plan.source import Provenance
    from flashgen.runtime.module import load
    from flashgen.runtime.source import best_plan
    from flashgen.targets.target import load_target

    source = _lowered(spec, schedule).program
    work = Workload(1, 2, 2, 128, 128)
    if tile == PLANNED and schedule == "flash2":
        plan = best_plan(spec, TARGET, dtype, work)
    elif tile == PLANNED:
        plan = plan_for(_lowered(spec, schedule), load_target(TARGET), dtype, work)
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
    code = backend_named(plan.backend).print(source, plan, Provenance(spec)).text
    name = hashlib.sha256(code.encode()).hexdigest()[:16]
    return load(Path(f"<flashgen verify {name}>"), code)
