"""Where the compiler's numbers made another candidate win than predictions alone: which, and why."""

from __future__ import annotations

from collections.abc import Sequence

from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.plan import MAX_SPILL_BYTES
from flashgen.plan.search import Candidate, candidates
from flashgen.size import show_size
from flashgen.targets.target import Target


def overruled(
    program: Program, kernel: int, target: Target, dtype: str, w: Workload, ranked: Sequence[Candidate]
) -> str:
    """A line on the candidate of kernel number ``kernel`` that would have won without the compiler; empty
    where it won, or where nothing of ``ranked`` (``select.rankings``) was compiled."""
    best = ranked[0].measured
    if best is not None and best.spill_bytes > MAX_SPILL_BYTES:
        return (
            f"all that was tried spills more than {MAX_SPILL_BYTES} B a thread, this least: it works, but a"
            " shorter score or mask, a smaller head dim or another GPU would be faster"
        )
    first = candidates(program, kernel, target, dtype, w)[0]
    now = next((c for c in ranked if c.plan == first.plan), first)
    if now.plan == ranked[0].plan or first.cost is None or not (now.measured or now.refused):
        return ""
    line = f"without the compiler {first.plan} would have won, predicted at {first.cost.us:,.1f} us"
    if now.cost is None or now.measured is None:
        return f"{line}; it {now.rejected}"
    m = now.measured
    took = f"spills {m.spill_bytes} B a thread"
    if not m.spill_bytes:
        took = f"takes {m.registers} registers a thread and {show_size(m.smem_bytes)} of shared memory"
    return f"{line}; it {took}, predicted then at {now.cost.us:,.1f} us"
