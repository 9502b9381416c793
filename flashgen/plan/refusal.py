"""Why there is no plan, in words: what was in the way of the candidates, and what would work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flashgen.errors import PlanError
from flashgen.ir.program import Program
from flashgen.size import show_size
from flashgen.targets.target import Target

from .plan import MAX_SPILL_BYTES

if TYPE_CHECKING:
    from .search import Candidate


def no_plan(found: Sequence[Candidate], target: Target, program: Program) -> PlanError:
    """The error for candidates of which none is a plan: the compiler's reasons where it was asked, else
    the smallest shared memory that works."""
    what = f"{program.name} on {target.name}"
    refused = [c for c in found if c.refused]
    if refused:
        return PlanError(f"{what}: no candidate passed the compiler: {_refusals(refused, target)}")
    big = [c for c in found if c.too_big]
    if not big:
        reason = found[0].rejected if found else "there are no candidates"
        return PlanError(f"{what}: no tile works: {reason}")
    small = min(big, key=lambda c: (c.smem_bytes, -c.plan.num_warps))  # of as much, with most warps
    return PlanError(
        f"{what}: no tile fits {show_size(target.smem_bytes)} of shared memory a thread block; "
        f"the smallest that works needs {show_size(small.smem_bytes)} ({small.plan})"
    )


def smallest(found: Sequence[Candidate]) -> int:
    """The least bytes of shared memory with which one of ``found`` works."""
    return min((c.smem_bytes for c in found if c.too_big), default=0)


def _refusals(refused: Sequence[Candidate], target: Target) -> str:
    measured = [c.measured for c in refused if c.measured]
    large = [m.smem_bytes for m in measured if m.smem_bytes > target.smem_bytes]
    spills = [m.spill_bytes for m in measured if m.smem_bytes <= target.smem_bytes]
    broken = [c for c in refused if not c.measured]
    reasons = []
    if spills:
        counts = _range([f"{n:,}" for n in sorted(spills)])
        reasons.append(f"{len(spills)} would spill {counts} bytes a thread ({MAX_SPILL_BYTES} are allowed)")
    if large:
        sizes = _range([show_size(n) for n in sorted(large)])
        exist = show_size(target.smem_bytes)
        reasons.append(f"{len(large)} would take {sizes} of shared memory a thread block ({exist} exist)")
    if broken:
        reasons.append(f"{len(broken)} failed, for example {broken[0].plan}: {broken[0].rejected}")
    said = f"of {len(refused)} tried, {', '.join(reasons)}"
    if target.note:
        said += f". Note: {target.note}"
    ways = "`flashgen build --no-confirm` writes the best prediction unproved"
    if measured:
        ways = f"A smaller head dim, a shorter score or mask, or another GPU would work; {ways}"
    return f"{said}. {ways}"


def _range(shown: Sequence[str]) -> str:
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"
