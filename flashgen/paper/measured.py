"""Times on the CUDA device at hand, of the plans whose times are predicted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from flashgen.driver import Lowered, lower_spec
from flashgen.errors import PlanError
from flashgen.plan.plan import KernelPlan, Plan, Workload
from flashgen.plan.specialise import contiguous
from flashgen.plan.target import load_target
from flashgen.runtime.signature import makes_gradients

from .programs import DTYPE, planned

if TYPE_CHECKING:
    from flashgen.tune.search import Tell
    from flashgen.tune.timing import Stage

ROUNDS = 7
DTYPES = {"fp16": torch.float16}


@dataclass(frozen=True)
class Ask:
    """A program, its kernels' plans, and the sizes to time it at."""

    of: Lowered
    kernels: tuple[KernelPlan, ...]
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
    refused: set[Ask] = field(default_factory=set)

    def milliseconds(self, of: Lowered, w: Workload, kernels: Sequence[KernelPlan] | str) -> float | None:
        """The time of all kernels with these plans. None where there are none but a reason, where the
        compiler refuses one, where the device's memory is too small, and at the first asking."""
        if isinstance(kernels, str):
            return None
        ask = Ask(of, tuple(kernels), w)
        if not self.compiled:
            self.asked[ask] = None
            self.asked[self._forward(ask)] = None
        elif self.asked[ask] is None and not self.refused & {ask, self._forward(ask)}:
            self.asked[ask] = self._measured(ask)
        return self.asked[ask]

    def compile(self, tell: Tell) -> None:
        """Compile all that was asked for, in processes."""
        from flashgen.tune.compiling import Job, compile_all

        jobs: list[Job] = []
        of: list[Ask] = []
        for a in self.asked:
            kinds = tuple(contiguous(a.of.program, DTYPE).items())
            text, plan = a.of.spec.canonical_json(), self._plan(a)
            jobs += [Job(text, plan, i, kinds, self.gpu) for i in range(len(a.kernels))]
            of += [a] * len(a.kernels)
        failed = compile_all(jobs, tell=lambda done: tell("compiling", done, len(jobs)))
        self.refused = {a for a, why in zip(of, failed, strict=True) if why}
        self.compiled = True

    def _forward(self, a: Ask) -> Ask:
        """That whose results a backward is given; of a forward itself."""
        if not makes_gradients(a.of.program.schedule):
            return a
        of = lower_spec(a.of.spec)
        return Ask(of, planned(of, self.target, a.work), a.work)

    def _plan(self, a: Ask) -> Plan:
        nvidia = load_target(self.target).arch.startswith("sm_")
        return Plan(a.of.program.schedule, self.target, DTYPE, a.kernels, 0, 0, 0.0, inline_ptx=nvidia)

    def _measured(self, a: Ask) -> float | None:
        try:
            on = self._stage(a)
            us = [on.times([on.base], i, ROUNDS)[0] for i in range(len(a.kernels))]
        except (PlanError, torch.OutOfMemoryError):
            return None
        finally:
            torch.cuda.empty_cache()
        return sum(us) / 1e3

    def _stage(self, a: Ask) -> Stage:
        """The program with its tensors, run once. Every sequence has its full length."""
        from flashgen.tune.search import tensors
        from flashgen.tune.timing import Stage

        spec, schedule, left = a.of.spec, a.of.program.schedule, None
        if makes_gradients(schedule):
            forward = self._stage(self._forward(a)).everything
            left = forward["o"], forward["lse"]
        given = tensors(spec, schedule, a.work, DTYPES[DTYPE], left)
        for name in spec.inputs:
            given[name].fill_(a.work.Nk)
        return Stage(spec.canonical_json(), schedule, a.work, given, self._plan(a))


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
