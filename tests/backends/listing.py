"""A third backend: kernels as plain text, for a machine that keeps every loaded tile in shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flashgen.ir.dump import dump
from flashgen.ir.program import Program
from flashgen.plan.backend import Kinds, Refinement, Room, Sizes, Term, Verdict
from flashgen.plan.model.facts import KernelFacts, LoadFacts
from flashgen.plan.model.tiling import Tiling
from flashgen.plan.plan import KernelPlan, Order, Plan
from flashgen.plan.source import KernelSource, Module, Provenance, Source
from flashgen.targets.target import Target

SIDES = (48, 96)  # no powers of two
REGISTERS = 100


class Listing:
    """Prints a program as its dump."""

    name = "listing"

    def knobs(self, f: KernelFacts, order: Order) -> Iterator[KernelPlan]:
        """Square tiles."""
        return (KernelPlan(tuple((s, n) for s in f.sides), 4, 1, order) for n in SIDES)

    def refinements(self, boxes: bool) -> Sequence[Refinement]:
        """None."""
        return ()

    def misfit(self, t: Tiling) -> str:
        """Everything fits."""
        return ""

    def sizes(self, t: Tiling) -> Sizes:
        """Each loaded tile once."""
        loads = [x for body in (t.facts.body, *t.facts.loops) for x in body.loads]
        terms = [Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype)) for x in loads]
        return Sizes(terms, sum(t.bytes_of(x) for x in loads), {"all": REGISTERS}, 0)

    def smem_bytes(self, t: Tiling) -> int:
        """Each loaded tile once."""
        return self.sizes(t).smem_bytes

    def fetched(self, t: Tiling, x: LoadFacts) -> int:
        """Its bytes."""
        return t.bytes_of(x)

    def room(self, t: Tiling) -> Room:
        """Nothing is ever refused."""
        smem = self.smem_bytes(t)
        return Room(t.plan, (), 0, REGISTERS, 1, 255, 4, False, smem, t.target.smem_bytes)

    def print(self, program: Program, plan: Plan, given: Provenance, *more: tuple[Program, Plan]) -> Source:
        """The dumps, one after the other."""
        both = [(program, plan), *more]
        kernels = [
            KernelSource(k.name, (), tuple(a.extent for a in k.grid), dict(its.sides), its.num_warps, 1)
            for p, numbers in both
            for k, its in zip(p.kernels, numbers.kernels, strict=True)
        ]
        manifest = {"spec": given.spec_json, "plans": [numbers.to_json() for _, numbers in both]}
        return Source("\n".join(dump(p) for p, _ in both), tuple(kernels), manifest)

    def boxes(self, program: Program, dtype: str) -> bool:
        """No hardware copies anything."""
        return False

    def compile(
        self, program: Program, source: Module, kernel: int, plan: Plan, target: Target, kinds: Kinds = None
    ) -> Verdict:
        """The numbers that were predicted."""
        from flashgen.plan.model.facts import facts
        from flashgen.plan.model.tiling import tiling

        f = facts(program)[kernel]
        return Verdict(self.sizes(tiling(f, plan.kernels[kernel], plan.dtype, target)).measured)
