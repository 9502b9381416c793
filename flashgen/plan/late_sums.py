"""Program -> program: what a plan changes in it, the order of statements, never what they compute.

The row sum of P can wait until P V has been issued, so that it runs beside the matrix units; while it
waits, P stays in registers. Where a block has an SM to itself that gained 2 to 10% on H100 (head dims 192
and 256); where other blocks fill the gap it lost 3 to 5% (head dim 128).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from flashgen.expr.nodes import variables
from flashgen.ir.program import Dot, Kernel, Loop, Map, Program, Reduce, Stmt
from flashgen.ir.uses import used

from .model.facts import KernelFacts, facts
from .plan import KernelPlan, Plan

#: Elements of P a thread can hold on to while a dot runs.
LATE_SUM_ELEMENTS = 32
#: Blocks of so many warps usually have an SM to themselves.
LATE_SUM_WARPS = 8
WARP = 32


def arrange(program: Program, plan: Plan) -> Program:
    """``program`` with its statements in the order that suits ``plan``."""
    kernels = zip(program.kernels, plan.kernels, strict=True)
    return replace(program, kernels=tuple(_kernel(k, p) for k, p in kernels))


def _kernel(kernel: Kernel, plan: KernelPlan) -> Kernel:
    return _waiting(kernel) if wait(plan) else kernel


def _waiting(kernel: Kernel) -> Kernel:
    return replace(kernel, body=tuple(late_sums(s) if isinstance(s, Loop) else s for s in kernel.body))


def as_printed(f: KernelFacts, plan: KernelPlan) -> KernelFacts:
    """``f`` with its statements in the order that ``plan`` prints: what is alive where follows from it."""
    return _late(f) if wait(plan) else f


@lru_cache(maxsize=256)
def _late(f: KernelFacts) -> KernelFacts:
    kernels = tuple(_waiting(k) for k in f.program.kernels)
    if kernels == f.program.kernels:
        return f
    which = next(i for i, k in enumerate(f.program.kernels) if k is f.kernel)
    return facts(replace(f.program, kernels=kernels))[which]


def wait(plan: KernelPlan) -> bool:
    """Whether row sums wait: there is room for P, and nothing else that fills the gap."""
    rows, columns = (dict(plan.sides).get(n, 1) for n in ("BLOCK_M", "BLOCK_N"))
    few = rows * columns <= LATE_SUM_ELEMENTS * WARP * plan.num_warps
    return few and plan.num_warps >= LATE_SUM_WARPS


def late_sums(loop: Loop) -> Loop:
    """``loop`` with its row sums, and what only they feed, behind its last dot."""
    last = max((i for i, s in enumerate(loop.body) if isinstance(s, Dot)), default=0)
    late: list[Stmt] = []
    names: set[str] = set()
    for s in loop.body[:last]:
        if (isinstance(s, Reduce) and s.op == "sum") or (isinstance(s, Map) and names & variables(s.value)):
            late.append(s)
            names.add(s.dst.name)
    early_reads = {n for s in loop.body[: last + 1] if isinstance(s, Dot) for n in used(s)}
    if names & early_reads:
        return loop
    early = [s for s in loop.body[: last + 1] if s not in late]
    return replace(loop, body=(*early, *late, *loop.body[last + 1 :]))
