"""One program on the GPU with its tensors, so that one kernel of it can be timed in many plans."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan
from flashgen.plan.specialise import Kind
from flashgen.runtime.cuda import steps, workspaces
from flashgen.runtime.device import Known, target_of
from flashgen.runtime.launch import Compiled, build, loaded
from flashgen.runtime.layout import results_of
from flashgen.runtime.record import Record
from flashgen.runtime.signature import signature
from flashgen.runtime.source import generated
from flashgen.runtime.variants import Variant, Variants, kind

#: Cycles that the GPU is kept busy while the host queues launches.
HEAD_START_CYCLES = 400_000


def gpu_at_hand() -> tuple[str, int | str, int]:
    """The current CUDA device as Triton names targets."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    if torch.version.hip is not None:
        return "hip", str(device.gcnArchName).split(":")[0], 64
    return "cuda", 10 * device.major + device.minor, 32


@dataclass
class Ground:
    """The tensors of a spec's program by one schedule on the current CUDA device, for one kernel at a time.

    ``given`` are its tensors by name as ``Signature.given`` lists them. A program of one kernel runs on them
    as they are; others need the workspaces and kernels of a ``Stage``.
    """

    spec: str
    schedule: str
    work: Workload
    given: Mapping[str, Tensor]
    everything: dict[str, Tensor] = field(init=False)
    kinds: dict[str, Kind] = field(init=False)
    others: tuple[Compiled, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        made = results_of(signature(self.spec), self.schedule, dict(self.given))
        results = {
            name: torch.empty_strided(shape, stride, dtype=dtype, device="cuda")
            for name, (shape, stride, dtype) in made.items()
        }
        self.everything = {**self.given, **results}
        self._look()

    def _look(self) -> None:
        names = signature(self.spec).names
        self.kinds = {n: kind(n, t, free=n in names) for n, t in self.everything.items()}

    def _addresses(self) -> list[int]:
        return [t.data_ptr() for t in self.everything.values()]

    def load(self, plan: Plan, kernel: int) -> Variant | str:
        """``plan`` with its kernel of this number on the device beside ``others``; or why not."""
        record = generated(self.spec, plan)
        ready = self._ready(record, kernel)
        if isinstance(ready, str):
            return ready
        return record, (*self.others[:kernel], ready, *self.others[kernel + 1 :])

    def _ready(self, record: Record, kernel: int) -> Compiled | str:
        try:
            return loaded(build(record, record.kernels[kernel], self.kinds))
        except Exception as e:  # out of resources, or what the compiler raised
            return f"{type(e).__name__}: {e}".splitlines()[0][:200]

    def times(self, variants: Sequence[Variant], kernel: int, rounds: int) -> list[float]:
        """The median time in microseconds of each variant's kernel, in alternating rounds."""
        launches = [steps(v, self.everything, self.work)[kernel] for v in variants]
        addresses, stream = self._addresses(), _stream()
        for launch in launches:
            launch(addresses, stream)
        taken: list[list[float]] = [[] for _ in launches]
        for number in range(rounds):
            events = {}
            torch.cuda.synchronize()
            torch.cuda._sleep(HEAD_START_CYCLES)  # type: ignore[no-untyped-call]
            turn = number % len(launches)
            for i in (*range(turn, len(launches)), *range(turn)):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                start.record()
                launches[i](addresses, stream)
                end.record()
                events[i] = start, end
            torch.cuda.synchronize()
            for i, (start, end) in events.items():
                taken[i].append(1e3 * start.elapsed_time(end))
        return [statistics.median(t) for t in taken]


@dataclass
class Stage(Ground):
    """The same with what the kernels of ``base`` leave in their workspaces: by plan ``asked`` as it is, or by
    the one that a call would run untuned. Raises ``PlanError`` where one does not compile or run here."""

    asked: Plan | None = None
    target: Known = field(init=False)
    base: Variant = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        index = torch.cuda.current_device()
        self.target = target_of(index)
        if self.asked is None:
            variants = Variants(self.spec, signature(self.spec).names, self.schedule, tuned=False)
            self.base = variants.get(self.everything, self.work, self.target, index)
        record = generated(self.spec, self.asked) if self.asked else self.base[0]
        self.everything |= workspaces(record, self.work, self.given["q"].dtype, "cuda")
        self._look()
        if self.asked is not None:
            self.base = record, self._built(record)
        self.others = self.base[1]
        for step in steps(self.base, self.everything, self.work):
            step(self._addresses(), _stream())
        torch.cuda.synchronize()

    def _built(self, record: Record) -> tuple[Compiled, ...]:
        ready = [self._ready(record, i) for i in range(len(record.kernels))]
        if failed := [x for x in ready if isinstance(x, str)]:
            raise PlanError(failed[0])
        return tuple(x for x in ready if not isinstance(x, str))

    @property
    def plan(self) -> Plan:
        """The plan that a call of these tensors runs where nothing is tuned."""
        return self.base[0].plan

    def launch(self, kernel: int) -> None:
        """Launch one kernel of ``base``."""
        steps(self.base, self.everything, self.work)[kernel](self._addresses(), _stream())


def _stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)
