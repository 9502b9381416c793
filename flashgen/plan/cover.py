"""A few plans that serve every call of a spec: what is compiled once, so that a new length compiles nothing.

A plan is chosen for each of WORKLOADS, from long sequences to short ones and few heads. Of these the fewest
are kept that leave no workload more than NEAR slower, as predicted, than its own.
"""

from __future__ import annotations

from dataclasses import replace

from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.predict import plan_us
from flashgen.targets.target import Target, load_target

from .plan import Plan
from .search import LONG, choose

#: Calls of a few heads each, long first: a batch that fills a large GPU, and one that does not.
WORKLOADS = (
    LONG,
    Workload(4, 32, 32, 4096, 4096),
    Workload(8, 32, 32, 2048, 2048),
    Workload(16, 32, 32, 1024, 1024),
    Workload(32, 32, 32, 512, 512),
    Workload(1, 8, 8, 2048, 2048),
)
#: A call that waits for the host, which makes each descriptor anew: its plan has none.
SHORT = Workload(1, 12, 12, 128, 128)
#: Time over the best that is worth no further plan.
NEAR = 1.005


def variants(
    program: Program,
    target: str | Target,
    dtype: str = "bf16",
    sram: int | None = None,
    described: bool = True,
    heads: tuple[int, int] | None = None,
) -> list[Plan]:
    """A small list of plans: that for long sequences first, that for the shortest last.

    ``described``: what loops read can be read by tensor descriptors. ``heads``: query and KV heads, where the
    spec says how many. Raises ``PlanError`` as ``choose`` does.
    """
    g = load_target(target, sram) if isinstance(target, str) else target.with_sram(sram)
    works = [replace(w, Hq=heads[0], Hkv=heads[1]) if heads else w for w in WORKLOADS]
    best = [choose(program, g, dtype, w, described=described) for w in works]
    found = list({p.kernels: p for p in reversed(best)}.values())
    out = _fewest(program, found, works) if len(found) > 1 else found
    short = choose(program, g, dtype, SHORT, described=False)
    return out if any(short.kernels == p.kernels for p in out) else [*out, short]


def _fewest(program: Program, found: list[Plan], works: list[Workload]) -> list[Plan]:
    """The fewest of ``found`` that are NEAR the best at all of ``works``, fastest at the first one first."""
    times = [[plan_us(program, p, w) for w in works] for p in found]
    least = [min(of[i] for of in times) for i in range(len(works))]
    near = [{i for i, t in enumerate(of) if t <= NEAR * least[i]} for of in times]
    kept, left = [], set(range(len(works)))
    while left:
        most = max(range(len(found)), key=lambda n: (len(near[n] & left), -sum(times[n])))
        kept.append(most)
        left -= near[most]
    return [found[n] for n in sorted(kept, key=lambda n: times[n][0])]
