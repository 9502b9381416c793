"""The straight line from a spec to a kernel, one call a level. Start reading here.

    spec ──lower──> AttentionIR ──SCHEDULES──> Program ──choose──> Plan ──emit──> Source

``spec/`` says what a variant is, ``expr/`` is the language of its score and mask. ``ir/attention.py`` is
what to compute; ``schedule/`` decides how (which loops, which tiles are visited); ``plan/`` gives the tile
sides for a GPU; ``backends/`` print. ``interpret/`` runs the same ``Program`` on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from flashgen.errors import PlanError
from flashgen.ir.attention import AttentionIR, lower
from flashgen.ir.live import live
from flashgen.ir.names import marked, settled
from flashgen.ir.program import Program
from flashgen.ir.verify import verify_ir, verify_program
from flashgen.ir.widths import sized
from flashgen.schedule.backward import backward
from flashgen.schedule.flash1 import flash1
from flashgen.schedule.flash1_backward import flash1_backward
from flashgen.schedule.flash2 import flash2
from flashgen.schedule.numbers import numbers
from flashgen.schedule.standard import standard
from flashgen.schedule.standard_backward import standard_backward

if TYPE_CHECKING:
    from flashgen.ir.workload import Workload
    from flashgen.plan.plan import Plan
    from flashgen.plan.source import Source
    from flashgen.spec.model import AttentionSpec
    from flashgen.targets.target import Target

#: The algorithms: each turns what to compute into loops over tiles.
SCHEDULES: dict[str, Callable[[AttentionIR], Program]] = {
    "flash2": flash2,
    "flash1": flash1,
    "standard": standard,
    "backward": backward,
    "backward_lse": partial(backward, through="lse"),
    "flash1_backward": flash1_backward,
    "flash1_backward_lse": partial(flash1_backward, through="lse"),
    "standard_backward": standard_backward,
    "standard_backward_lse": partial(standard_backward, through="lse"),
    "standard_three_pass": partial(standard, passes=3),
}

#: What Triton's interpreter computes rightly: its bf16 is wrong without a word.
INTERPRETED = ("fp16", "fp32")
#: The header's line of a twin.
TWIN = ("twin", "for Triton's interpreter: TRITON_INTERPRET=1, fp16 or fp32 tensors on the CPU")


@dataclass(frozen=True)
class Lowered:
    """A spec on its way: what it means, and the program that computes it."""

    spec: AttentionSpec
    ir: AttentionIR
    program: Program


def lower_spec(spec: AttentionSpec, schedule: str = "flash2") -> Lowered:
    """spec -> AttentionIR -> Program of what lasts, each level verified.

    Raises ``PlanError`` for an unknown schedule, and for a backward of a spec that refuses it.
    """
    if schedule not in SCHEDULES:
        raise PlanError(f"no schedule is called {schedule!r}; there are {', '.join(SCHEDULES)}")
    if "backward" in schedule and not spec.backward:
        raise PlanError(
            f"{spec.name} has no backward (its field `backward` is false): leave `backward` out of the spec"
        )
    ir = lower(spec)
    verify_ir(ir)
    program = sized(live(settled(SCHEDULES[schedule](marked(ir)))))
    verify_program(program)
    return Lowered(spec, ir, program)


def schedules_of(spec: AttentionSpec) -> tuple[str, ...]:
    """The schedules of a spec's one file: the forward, and where it trains the backward of all that it
    returns."""
    if not spec.backward:
        return ("flash2",)
    return ("flash2", "backward_lse" if "lse" in spec.outputs else "backward")


def plan_for(lowered: Lowered, target: Target, dtype: str, workload: Workload | None = None) -> Plan:
    """Program -> Plan: tile sides, warps, stages and order for ``target``. Raises ``PlanError``."""
    from flashgen.plan.search import choose

    return choose(lowered.program, target, dtype, workload)


def emit_source(
    lowered: Lowered, plan: Plan, *more: tuple[Lowered, Plan], interpretable: bool = False
) -> Source:
    """Program + Plan -> Triton text with its manifest; ``more``: the backward, for one file of both.

    ``interpretable``: a twin of the module, on the same tiles, that Triton's interpreter runs.
    """
    from flashgen import __version__
    from flashgen.plan.backend import backend_named
    from flashgen.plan.source import Provenance
    from flashgen.toolchain import triton_version

    spec = lowered.spec
    versions = (f"flashgen {__version__}", f"triton {triton_version() or 'not installed'}")
    notes = []
    if f"{lowered.program.schedule}_lse" in SCHEDULES:
        notes += [
            (
                "gradient",
                f"of out alone; `--schedule {lowered.program.schedule}_lse` takes that of lse too, dlse",
            )
        ]
    words = spec.canonical_json(), spec.description, spec.score, spec.mask
    provenance = Provenance(*words, versions, numbers(lowered.ir), tuple(notes))
    if interpretable:
        provenance = replace(provenance, elements=INTERPRETED, notes=(*provenance.notes, TWIN))
        plan, more = plan.portable(), tuple((known, its.portable()) for known, its in more)
    backend = backend_named(plan.backend)
    return backend.print(lowered.program, plan, provenance, *((known.program, its) for known, its in more))
