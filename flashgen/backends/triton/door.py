"""Triton behind the door: the functions of ``flashgen.plan.backend.Backend``, each a line to its file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flashgen.ir.program import Program
from flashgen.plan.backend import Kinds, Refinement, Room, Sizes, Verdict
from flashgen.plan.model.facts import KernelFacts, LoadFacts, streamed
from flashgen.plan.model.tiling import Tiling
from flashgen.plan.plan import KernelPlan, Order, Plan
from flashgen.plan.source import Module, Provenance, Source
from flashgen.targets.target import Target

from . import knobs
from .registers import TIGHT_REGISTERS, register_parts, spilled
from .sectors import sent
from .smem import pipelined, smem_bytes, smem_terms, terms_bytes
from .specialise import contiguous, describable_loads


class Triton:
    """Kernels in Triton, for every GPU that it compiles for."""

    name = "triton"

    def knobs(self, f: KernelFacts, order: Order) -> Iterator[KernelPlan]:
        """Every assignment of sides, warps and stages."""
        return knobs.knobs(f, order)

    def refinements(self, boxes: bool) -> Sequence[Refinement]:
        """Tensor descriptors, where tensors lie fit for them; then a limit of registers."""
        return knobs.REFINEMENTS if boxes else knobs.REFINEMENTS[1:]

    def misfit(self, t: Tiling) -> str:
        """Too many warps for the rows, or stages of nothing."""
        return knobs.misfit(t)

    def sizes(self, t: Tiling) -> Sizes:
        """By rules read off Triton's allocations, and an estimate of registers."""
        terms, parts = smem_terms(t), register_parts(t)
        return Sizes(terms, terms_bytes(t, terms), parts, spilled(t, sum(parts.values())))

    def smem_bytes(self, t: Tiling) -> int:
        """By rules read off Triton's allocations."""
        return smem_bytes(t)

    def fetched(self, t: Tiling, x: LoadFacts) -> int:
        """Its bytes, or twice those where Triton copies halves of sectors."""
        return sent(t, x)

    def room(self, t: Tiling) -> Room:
        """Registers but for those that ptxas spends while there is room; where no loop is pipelined, stages
        are none of the code's numbers."""
        held = sum(n for what, n in register_parts(t).items() if what != "base")
        inner = [loop for loop in t.facts.loops if pipelined(t, loop)]
        wgmma = any(t.wgmma(d) for body in (t.facts.body, *t.facts.loops) for d in body.dots)
        return Room(
            code=t.plan if inner else replace(t.plan, num_stages=1),
            kind=(wgmma, t.plan.loads),
            held=held,
            beside=TIGHT_REGISTERS,
            elements=math.prod(t.sides.values()) / t.threads,
            limit=t.register_limit,
            warps=t.warps,
            ahead=any(t.wgmma(d) for loop in inner for d in loop.dots),
            smem=smem_bytes(t),
            smem_limit=t.target.smem_bytes,
        )

    def print(self, program: Program, plan: Plan, given: Provenance, *more: tuple[Program, Plan]) -> Source:
        """A standalone Triton module."""
        from .emit.triton import emit

        return emit(program, plan, given, *more)

    def boxes(self, program: Program, dtype: str) -> bool:
        """Where tensor descriptors can read them."""
        return describable_loads(streamed(program), contiguous(program, dtype))

    def compile(
        self, program: Program, source: Module, kernel: int, plan: Plan, target: Target, kinds: Kinds = None
    ) -> Verdict:
        """In a process of its own, which may crash or run out of time."""
        from .verdict import compiled, job

        return compiled(job(program, source, kernel, plan, target, kinds))
