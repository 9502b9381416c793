"""The selection of kernels: for ``build``, a call, ``tune`` and ``explain`` alike.

Plans are proved before they are used: the candidate that the model predicts to be the fastest is compiled,
for a target that need not be there, and the next one only where the compiler refuses it: it spills too much,
takes too much shared memory, is unsound or does not compile. What was refused steers what is tried next
(``steer``). The plan comes from ``cover``, by the call's sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from flashgen.ir.program import Program
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import tiling
from flashgen.size import show_size
from flashgen.targets.target import Target

from .backend import Kinds, Room, Verdict, backend_of
from .cover import plan_for
from .plan import MAX_SPILL_BYTES, KernelPlan, Measured, Plan
from .search import Candidate, best_of, candidates, check_dtype, judge, make_plan, promise
from .shared_values import shared_values
from .source import Module
from .steer import Steering, room

#: Bytes of spills a thread that are taken, and said, where no tiling does with fewer: no dead end.
LAST_RESORT_BYTES = 4 * MAX_SPILL_BYTES
#: Compiles kernels, each by its number in a plan that holds it: the compiler's numbers, or why not.
Compile: TypeAlias = Callable[[Sequence[tuple[int, Plan]]], Sequence[Measured | str]]
#: Prints the module of a plan; the emitter is a later level, so it is handed in.
Emit = Callable[[Plan], Module]
#: Is told in a line how far it is.
Tell = Callable[[str], object]


def _quiet(line: str) -> None:
    """Tell nobody."""


@dataclass
class Search:
    """The search of one kernel: number ``number`` of ``program``, in plans that differ from ``base`` there.

    ``described`` as in ``candidates``. ``chosen`` is what the compiler accepted; ``allowed``: bytes of spills
    a thread that are taken where all that was tried spills more than ``MAX_SPILL_BYTES``.
    """

    program: Program
    number: int
    base: Plan
    target: Target
    described: bool
    allowed: float = LAST_RESORT_BYTES
    refused: list[Candidate] = field(default_factory=list)
    chosen: Candidate | None = None
    _least: Candidate | None = None  # of those that spill too much
    _rooms: dict[KernelPlan, Room] = field(default_factory=dict)

    @cached_property
    def first(self) -> Candidate:
        """The kernel of ``base``."""
        f, kernel = facts(self.program)[self.number], self.base.kernels[self.number]
        c = judge(f, kernel, self.base.dtype, self.target, self.base.workload or LONG)
        return replace(c, rejected="", too_big=False)

    @cached_property
    def _others(self) -> list[Candidate]:
        """The others, as the model ranks them at the plan's workload: for where the first is refused."""
        ask = self.base.dtype, self.base.workload, self.described
        ranked = candidates(self.program, self.number, self.target, *ask)
        return [c for c in ranked if c.plan != self.first.plan]

    @property
    def waiting(self) -> list[Candidate]:
        """What may be compiled, the most promising first."""
        tried = {c.plan for c in (*self.refused, *([self.chosen] if self.chosen else []))}
        left = (self.first, *(c for c in self._others if not c.rejected))
        return [c for c in left if c.plan not in tried]

    @property
    def rejected(self) -> list[Candidate]:
        """What is not worth compiling."""
        return [c for c in self._others if c.rejected]

    @cached_property
    def steering(self) -> Steering:
        """What was learnt so far."""
        return Steering(shared_values(self.program.kernels[self.number]))

    def room(self, c: Candidate) -> Room:
        """What ``c`` asks for."""
        if c.plan not in self._rooms:
            f = facts(self.program)[self.number]
            self._rooms[c.plan] = room(f, c.plan, self.base.dtype, self.target)
        return self._rooms[c.plan]

    def next_one(self) -> Candidate | None:
        """What is compiled now; None where the search has ended."""
        if self.chosen is not None:
            return None
        if not self.refused and self.steering.hopeful(self.room(self.first)):
            return self.first
        found = self.steering.next_one(self.waiting, self.room) if self.steering.goes_on else None
        if found is None:
            self._settle()
        return found

    def _settle(self) -> None:
        """Where nothing fits, take the one that spills least, if it is no great deal."""
        least = self._least
        if least is not None and least.spill_bytes <= self.allowed:
            self.chosen = replace(least, rejected="", refused=False)
            self.refused = [c for c in self.refused if c.plan != least.plan]

    def plan(self, c: Candidate) -> Plan:
        """``base`` with ``c`` as the kernel of this number."""
        row = [c] * len(self.program.kernels)  # of which only this number is taken
        other = make_plan(self.program, self.target, self.base.dtype, row, self.base.workload)
        return self.base.with_kernel(self.number, other)

    def learn(self, c: Candidate, found: Measured | str) -> None:
        """Take note of what became of ``c``."""
        said = judged(c, found, self.target)
        measured = None if isinstance(found, str) else found
        self.steering.learn(self.room(c), measured, refused=bool(said.rejected))
        if not said.rejected:
            self.chosen = said
            return
        self.refused.append(said)
        fits = measured is not None and measured.smem_bytes <= self.target.smem_bytes
        if fits and (self._least is None or said.spill_bytes < self._least.spill_bytes):
            self._least = said

    @property
    def reasons(self) -> str:
        """Why each that was tried was refused, in lines."""
        return "\n  ".join(f"{c.plan}: {c.rejected}" for c in self.refused)


def judged(c: Candidate, found: Measured | str, target: Target) -> Candidate:
    """``c`` with the compiler's numbers, refused where they do not fit."""
    if isinstance(found, str):
        return replace(c, rejected=f"does not compile: {found}", refused=True)
    m = found
    c = replace(c, smem_bytes=m.smem_bytes, registers=m.registers, spill_bytes=m.spill_bytes, measured=m)
    if m.smem_bytes > target.smem_bytes:
        why = f"takes {show_size(m.smem_bytes)} of shared memory, {show_size(target.smem_bytes)} exist"
        return replace(c, rejected=why, refused=True)
    if m.spill_bytes > MAX_SPILL_BYTES:
        why = f"spills {m.spill_bytes} bytes a thread, {MAX_SPILL_BYTES} are allowed"
        return replace(c, rejected=why, refused=True)
    return c


def searches(
    program: Program, base: Plan, target: Target, described: bool, allowed: float = LAST_RESORT_BYTES
) -> list[Search]:
    """The search of each kernel of ``base``."""
    kernels = range(len(program.kernels))
    return [Search(program, i, base, target, described, allowed) for i in kernels]


def select(of: Sequence[Search], compile: Compile, tell: Tell = _quiet) -> None:
    """Run the searches to their end, one candidate of each kernel at a time, side by side."""
    while batch := [(s, c) for s in of if (c := s.next_one()) is not None]:
        tell("; ".join(_progress(s, c) for s, c in batch))
        for (s, c), found in zip(batch, compile([(s.number, s.plan(c)) for s, c in batch]), strict=True):
            s.learn(c, found)


def settled(base: Plan, of: Sequence[Search]) -> Plan:
    """``base`` with what each search has chosen."""
    for s in of:
        if s.chosen is not None:
            base = base.with_kernel(s.number, s.plan(s.chosen))
    return base


def _progress(s: Search, c: Candidate) -> str:
    """Which candidate is being compiled, and why it came to that."""
    name = s.program.kernels[s.number].name
    line = f"{name}, candidate {len(s.refused) + 1} ({c.plan.short()})"
    return line + (f": the last {s.refused[-1].rejected}" if s.refused else "")


def ahead(program: Program, target: Target, emit: Emit, workers: int = 2, kinds: Kinds = None) -> Compile:
    """Compiles for ``target`` without that GPU, a process for each kernel. ``kinds`` of the program's
    tensors: by default of aligned contiguous ones."""

    def compile(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        printed = [emit(plan) for _, plan in batch]

        def one(of: tuple[tuple[int, Plan], Module]) -> Verdict:
            (number, plan), source = of
            return backend_of(target).compile(program, source, number, plan, target, kinds)

        with ThreadPoolExecutor(workers) as pool:
            return [v.measured or v.error for v in pool.map(one, zip(batch, printed, strict=True))]

    return compile


def rankings(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, workers: int = 2,
    tell: Tell = _quiet, compile: Compile | None = None,
) -> list[list[Candidate]]:  # fmt: skip
    """The candidates of each kernel for a call of aligned contiguous tensors: that which the compiler
    accepted, then the others by predicted time, then those refused and rejected. Times are at ``workload``.

    ``compile``: by default ``ahead``. Raises ``PlanError`` as ``choose`` does, before anything is compiled.
    """
    check_dtype(target, dtype)
    described = backend_of(target).boxes(program, dtype)
    base = plan_for(program, target, dtype, workload, described)
    of = searches(program, base, target, described)
    select(of, compile or ahead(program, target, emit, workers), tell)
    return [shown(s, workload) for s in of]


def shown(s: Search, w: Workload) -> list[Candidate]:
    """The candidates of one ended search, as ``rankings`` gives them."""
    f = facts(s.program)[s.number]

    def at(c: Candidate) -> Candidate:
        t = tiling(f, c.plan, s.base.dtype, s.target)
        return replace(c, cost=kernel_cost(t, w, c.sizes) if not c.rejected else None)

    best = [at(s.chosen)] if s.chosen else []
    return [*best, *sorted(map(at, s.waiting), key=promise), *map(at, s.refused), *s.rejected]


def proved(
    program: Program, target: Target, dtype: str, workload: Workload, found: Sequence[list[Candidate]]
) -> Plan:
    """The plan of the best of each kernel's ``rankings``. Raises ``PlanError``, with the compiler's reasons,
    where it accepted none."""
    best = [best_of(ranked, target, program) for ranked in found]
    plan = make_plan(program, target, dtype, best, workload)
    return replace(plan, compiled=tuple(c.measured for c in best if c.measured is not None))
