"""Times on the CUDA device at hand, of the plans that the planner likes best for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch

from flashgen.driver import Lowered, lower_spec
from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import KernelPlan, Plan
from flashgen.plan.specialise import contiguous
from flashgen.runtime.signature import makes_gradients, signature
from flashgen.targets.target import load_target

from .programs import DTYPE, promising

if TYPE_CHECKING:
    from flashgen.tune.compiling import Job
    from flashgen.tune.search import Tell
    from flashgen.tune.timing import Stage

ROUNDS = 7
DTYPES = {"fp16": torch.float16}
#: Of each kernel those that are tried, most promising first.
Plans: TypeAlias = tuple[tuple[KernelPlan, ...], ...]


@dataclass(frozen=True)
class Ask:
    """A program, plans of its kernels, and the sizes to time it at."""

    of: Lowered
    kernels: Plans
    work: Workload


@dataclass
class Clock:
    """Times on one device; ``target`` is its name among targets.

    It is asked twice: the first time it only notes what there is to compile, which ``compile`` then does side
    by side, and the second time it measures.
    """

    device: str
    target: str
    gpu: tuple[str, int | str, int]
    compiled: bool = False
    asked: dict[Ask, float | None] = field(default_factory=dict)
    refused: set[Job] = field(default_factory=set)

    def milliseconds(self, of: Lowered, w: Workload, kernels: Plans | str) -> float | None:
        """The time of all kernels, of each that of the fastest of its plans. None where there are none but
        a reason, where the compiler refuses all of a kernel's, where the device's memory is too small, and at
        the first asking."""
        if isinstance(kernels, str):
            return None
        ask = Ask(of, kernels, w)
        if not self.compiled:
            self.asked[ask] = None
            self.asked[self._forward(ask)] = None
        elif self.asked[ask] is None:
            self.asked[ask] = self._measured(ask)
        return self.asked[ask]

    def compile(self, tell: Tell) -> None:
        """Compile all that was asked for, in processes."""
        from flashgen.tune.compiling import compile_all

        jobs = [self._job(a, i, p) for a in self.asked for i, plans in enumerate(a.kernels) for p in plans]
        jobs = list(dict.fromkeys(jobs))
        failed = compile_all(jobs, tell=lambda done: tell("compiling", done, len(jobs)))
        self.refused = {j for j, why in zip(jobs, failed, strict=True) if why}
        self.compiled = True

    def _job(self, a: Ask, kernel: int, plan: KernelPlan) -> Job:
        from flashgen.tune.compiling import Job

        kinds = tuple(contiguous(a.of.program, DTYPE).items())
        return Job(a.of.spec.canonical_json(), self._trial(a, kernel, plan), kernel, kinds, self.gpu)

    def _trial(self, a: Ask, kernel: int, plan: KernelPlan) -> Plan:
        """The first of each kernel's plans, but ``plan`` for one kernel."""
        first = [plans[0] for plans in a.kernels]
        return self._plan(a, (*first[:kernel], plan, *first[kernel + 1 :]))

    def _plan(self, a: Ask, kernels: tuple[KernelPlan, ...]) -> Plan:
        nvidia = load_target(self.target).arch.startswith("sm_")
        return Plan(a.of.program.schedule, self.target, DTYPE, kernels, 0, 0, 0.0, inline_ptx=nvidia)

    def _forward(self, a: Ask) -> Ask:
        """That whose results a backward is given; of a forward itself."""
        if not makes_gradients(a.of.program.schedule):
            return a
        of = lower_spec(a.of.spec)
        plans = promising(of, self.target, a.work)
        assert not isinstance(plans, str)  # no sides are stated that might not fit
        return Ask(of, plans, a.work)

    def _measured(self, a: Ask) -> float | None:
        try:
            on = self._stage(a)
            us = [self._fastest(on, a, i) for i in range(len(a.kernels))]
        except (PlanError, torch.OutOfMemoryError):
            return None
        finally:
            torch.cuda.empty_cache()
        return sum(us) / 1e3

    def _fastest(self, on: Stage, a: Ask, kernel: int) -> float:
        found = [on.load(self._trial(a, kernel, p), kernel) for p in self._accepted(a, kernel)]
        ready = [v for v in found if not isinstance(v, str)]
        if not ready:
            raise PlanError(f"no plan of {a.of.program.kernels[kernel].name} runs here")
        return min(on.times(ready, kernel, ROUNDS))

    def _accepted(self, a: Ask, kernel: int) -> list[KernelPlan]:
        found = [p for p in a.kernels[kernel] if self._job(a, kernel, p) not in self.refused]
        if not found:
            raise PlanError(f"no plan of {a.of.program.kernels[kernel].name} compiles")
        return found

    def _stage(self, a: Ask) -> Stage:
        """The program with its tensors, run once. Every sequence has its full length."""
        from flashgen.tune.search import tensors
        from flashgen.tune.timing import Stage

        spec, schedule, left = a.of.spec, a.of.program.schedule, None
        if makes_gradients(schedule):
            forward = self._stage(self._forward(a)).everything
            left = {n: forward[n] for n in ("o", *signature(spec.canonical_json()).lse_parts)}
        given = tensors(spec, schedule, a.work, DTYPES[DTYPE], left)
        for name in spec.inputs:
            given[name].fill_(a.work.Nk)
        accepted = tuple(self._accepted(a, i)[0] for i in range(len(a.kernels)))
        return Stage(spec.canonical_json(), schedule, a.work, given, self._plan(a, accepted))


def clock_at_hand() -> Clock | None:
    """That of the current CUDA device; None where there is none, or none with a target."""
    if not torch.cuda.is_available():
        return None
    from flashgen.runtime.device import target_of
    from flashgen.tune.timing import gpu_at_hand

    index = torch.cuda.current_device()
    try:
        return Clock(torch.cuda.get_device_name(index), target_of(index).name, gpu_at_hand())
    except PlanError:
        return None
