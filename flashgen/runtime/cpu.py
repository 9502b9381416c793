"""CPU tensors: the ``Program`` itself, run by the interpreter with the plan of the ``cpu`` target."""

from __future__ import annotations

import torch
from torch import Tensor

from flashgen.ir.interpret import run
from flashgen.plan.plan import Plan, Workload

from .check import DTYPES, check, check_grad
from .layout import lse_strides, out_strides
from .signature import signature
from .source import best_plan, lowered


class CpuAttention:
    """One spec on the CPU: ``(q, k, v, inputs) -> (out, lse)``, memory linear in the lengths."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.signature = signature(spec)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Raises ``TensorError`` for tensors that do not fit, before anything runs."""
        sig = self.signature
        check(sig, q, k, v, inputs)
        check_grad(("q", "k", "v", *sig.names), (q, k, v, *inputs))
        shape, stride = (*q.shape[:3], sig.d_v), out_strides(q.shape, q.stride(), sig.d_v)
        out = torch.empty_strided(shape, stride, dtype=q.dtype)
        lse = torch.empty_strided(shape[:3], lse_strides(q.shape), dtype=torch.float32)
        if k.shape[2] == 0 or 0 in shape:
            return out.zero_(), lse.fill_(-torch.inf)
        work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        plan = best_plan(self.spec, "cpu", DTYPES[q.dtype], work)
        tensors = {"q": q, "k": k, "v": v, **dict(zip(sig.names, inputs, strict=True))}
        with torch.no_grad():
            results = run(lowered(self.spec).program, fitted(plan, work), tensors)
            # A result that lies as it should is handed on, any other copied to its place.
            return _placed(results["o"], out), _placed(results["lse"], lse)


def fitted(plan: Plan, work: Workload) -> dict[str, int]:
    """The plan's tile sides, none longer than the power of two that holds its sequence."""
    longest = {"BLOCK_M": work.Nq, "BLOCK_N": work.Nk}
    sides = plan.kernels[0].sides
    return {name: min(side, max(16, 1 << (longest[name] - 1).bit_length())) for name, side in sides}


def _placed(result: Tensor, place: Tensor) -> Tensor:
    if result.stride() == place.stride() and result.dtype == place.dtype:
        return result
    return place.copy_(result)
