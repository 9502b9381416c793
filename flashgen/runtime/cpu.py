"""CPU tensors: the ``Program`` itself, run by the interpreter with the plan of the ``cpu`` target."""

from __future__ import annotations

import torch
from torch import Tensor

from flashgen.interpret.run import run
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan

from .check import DTYPES, check_call
from .integers import check_integers
from .layout import nothing, nothing_to_do, results_of
from .signature import signature
from .source import best_plan, lowered


class CpuAttention:
    """One program of a spec on the CPU, memory linear in the lengths: from the tensors it is given
    (``Signature.given``) to its results."""

    def __init__(self, spec: str, schedule: str = "flash2") -> None:
        self.spec = spec
        self.schedule = schedule
        self.signature = signature(spec)

    def __call__(self, *given: Tensor) -> list[Tensor]:
        """Raises ``TensorError`` for tensors that do not fit, before anything runs."""
        tensors = check_call(self.signature, self.schedule, given)
        check_integers(self.signature, tensors)
        q, k = tensors["q"], tensors["k"]
        made = results_of(self.signature, self.schedule, tensors)
        places = {n: torch.empty_strided(shape, stride, dtype=d) for n, (shape, stride, d) in made.items()}
        if nothing_to_do(self.signature, self.schedule, tensors):
            return [place.fill_(nothing(name)) for name, place in places.items()]
        work = Workload(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        plan = best_plan(self.spec, "cpu", DTYPES[q.dtype], work, self.schedule)
        with torch.no_grad():
            program = lowered(self.spec, self.schedule).program
            results = run(program, fitted(plan, work), dict(zip(program.given, given, strict=True)))
            # A result that lies as it should is handed on, any other copied to its place.
            return [_placed(results[n], p) for n, p in zip(program.results, places.values(), strict=True)]


def fitted(plan: Plan, work: Workload) -> dict[str, int]:
    """The plan's tile sides, none longer than the power of two that holds its sequence."""
    longest = {"BLOCK_M": work.Nq, "BLOCK_N": work.Nk}
    sides = plan.kernels[0].sides
    return {name: min(side, max(16, 1 << max(longest[name] - 1, 0).bit_length())) for name, side in sides}


def _placed(result: Tensor, place: Tensor) -> Tensor:
    if result.stride() == place.stride() and result.dtype == place.dtype:
        return result
    return place.copy_(result)
