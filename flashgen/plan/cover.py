"""The plan for a workload, of so few that a new length seldom compiles anything.

A workload's own plan is the one that the model finds fastest at its rounded sizes. It is worth a compile
only where neither the plan for long sequences nor that for the nearest of a few ``ANCHORS`` is about as fast
there. So what is run depends on the sizes alone, not on what was called before, and nothing is compiled to
find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from flashgen.ir.program import Program
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.model.predict import HOST_BOUND_US, plan_us
from flashgen.targets.target import Target

from .plan import Plan
from .search import choose

#: Workloads whose plans serve others, each with a call's own heads: batches that fill a large GPU, long
#: sequences first, and one that does not; a call so short that it waits for the host, which makes each
#: descriptor anew: its plan has none.
ANCHORS = (
    (LONG, True),
    (Workload(4, 32, 32, 4096, 4096), True),
    (Workload(8, 32, 32, 2048, 2048), True),
    (Workload(16, 32, 32, 1024, 1024), True),
    (Workload(32, 32, 32, 512, 512), True),
    (Workload(1, 8, 8, 2048, 2048), True),
    (Workload(1, 12, 12, 128, 128), False),
)
#: Time over the best that is worth no plan of its own; and microseconds, of a call that waits for the host.
NEAR = 1.005
SLACK_US = 1.0
#: The model's plan for a workload; the flag: what loops read may be read by tensor descriptors.
Best: TypeAlias = Callable[[Workload, bool], Plan]


def planned(program: Program, target: Target, best: Best, w: Workload, described: bool = True) -> Plan:
    """The plan for calls of sizes ``w``; its ``workload`` is what it was chosen for.

    ``described``: what loops read can be read by tensor descriptors. Raises what ``best`` raises.
    """
    w = w.rounded()
    own = best(w, described)
    us: float | None = None
    anchors = [(replace(at, Hq=w.Hq, Hkv=w.Hkv), may) for at, may in ANCHORS]
    nearest = min(anchors, key=lambda x: x[0].distance(w))
    for anchor, may in dict.fromkeys((anchors[0], nearest)):
        common = best(anchor, described and may)
        if common.kernels == own.kernels:
            return common
        if us is None:
            us = plan_us(program, target, own, w)
            if us < HOST_BOUND_US and any(k.loads == "descriptor" for k in own.kernels):
                plain = best(w, False)
                own, us = min(((p, plan_us(program, target, p, w)) for p in (own, plain)), key=lambda x: x[1])
        if plan_us(program, target, common, w) <= max(NEAR * us, us + SLACK_US * (us < HOST_BOUND_US)):
            return common
    return own


def plan_for(program: Program, target: Target, dtype: str, w: Workload, described: bool = True) -> Plan:
    """``planned`` by the search itself. Raises ``PlanError`` as ``choose`` does."""

    def best(at: Workload, may: bool) -> Plan:
        return choose(program, target, dtype, at, described=may)

    return planned(program, target, best, w, described)
