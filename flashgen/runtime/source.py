"""From a spec's canonical JSON to generated modules, through the cache: plans first, then their source.

A spec has a few plans on a target, for long to short workloads. A call picks one by its sizes, so a new
length compiles nothing that another length has not compiled.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from flashgen.ir.workload import Workload
from flashgen.plan.plan import Measured, Plan, measured_near

from .cache import entry
from .record import Record, record, texts
from .signature import default_dtype, signature
from .tuned import recall

if TYPE_CHECKING:
    from flashgen.driver import Lowered
    from flashgen.plan.steer import Room, Steering


@lru_cache(maxsize=256)
def lowered(spec: str, schedule: str = "flash2") -> Lowered:
    """A spec's program by a schedule. Raises ``SpecError`` for JSON that is no sound spec."""
    from flashgen.driver import lower_spec
    from flashgen.spec.model import AttentionSpec

    return lower_spec(AttentionSpec.from_json(spec), schedule)


@lru_cache(maxsize=1024)
def plans(
    spec: str, target: str, dtype: str, described: bool = True, schedule: str = "flash2"
) -> tuple[Plan, ...]:
    """The plans that the model chooses for every workload, that for long sequences first.

    ``described``: what loops read is laid out so that tensor descriptors can read it. Raises ``PlanError``
    where there is none.
    """

    def make() -> dict[str, str]:
        from flashgen.plan.cover import variants

        known = lowered(spec, schedule)
        heads = (known.spec.heads.q, known.spec.heads.kv) if known.spec.heads else None
        found = variants(known.program, target, dtype, described=described, heads=heads)
        return {"plans.json": json.dumps([p.to_json() for p in found])}

    asked = {"what": "plans", "spec": spec, "target": target, "dtype": dtype, "described": described}
    asked |= {"schedule": schedule}
    _, files = entry(asked, make)
    return tuple(Plan.from_json(p) for p in json.loads(files["plans.json"]))


def measured(spec: str, schedule: str, dtype: str, target: str, described: bool) -> tuple[Plan, ...]:
    """The plans that ``flashgen tune`` found for this spec and GPU, as far as these layouts can run them."""
    found = recall(spec, schedule, dtype, target)
    return tuple(p for p in found if described or all(k.loads == "pointer" for k in p.kernels))


def picked(
    spec: str,
    plans: tuple[Plan, ...],
    work: Workload,
    compiled: tuple[tuple[Measured, ...], ...] | None = None,
) -> int:
    """Which of ``plans`` a call of these sizes runs: that measured near them, else the best by the model.

    ``compiled``: the compiler's numbers for each kernel of each plan. The model is asked for sizes rounded to
    powers of two, and each answer is kept in the cache, so that a new length costs nothing.
    """
    near = measured_near(plans, work)
    if near is not None:
        return near
    among = [i for i, p in enumerate(plans) if not p.measured_us]
    if len(among) == 1:
        return among[0]
    numbers = None if compiled is None else tuple(compiled[i] for i in among)
    return among[_best(spec, tuple(plans[i] for i in among), work.rounded(), numbers)]


@lru_cache(maxsize=4096)
def _best(
    spec: str, plans: tuple[Plan, ...], work: Workload, compiled: tuple[tuple[Measured, ...], ...] | None
) -> int:
    def make() -> dict[str, str]:
        from flashgen.plan.model.predict import best

        program = lowered(spec, plans[0].schedule).program
        return {"index.json": json.dumps(best(program, plans, work, compiled))}

    numbers = None if compiled is None else [[asdict(m) for m in c] for c in compiled]
    asked: dict[str, object] = {"what": "pick", "spec": spec, "compiled": numbers, "work": work.names()}
    asked |= {"plans": [p.to_json() for p in plans]}
    _, files = entry(asked, make)
    return int(json.loads(files["index.json"]))


def best_plan(spec: str, target: str, dtype: str, work: Workload, schedule: str = "flash2") -> Plan:
    """The plan for a call of these sizes."""
    found = plans(spec, target, dtype, schedule=schedule)
    return found[picked(spec, found, work)]


@dataclass(frozen=True)
class Choice:
    """A plan that differs from the first in one kernel, with what that kernel asks of a thread, and
    its predicted time at the plan's workload."""

    plan: Plan
    room: Room
    us: float


def choices(spec: str, best: Plan, kernel: int, described: bool) -> Iterator[Choice]:
    """``best``, and then plans that differ from it in kernel number ``kernel``, most promising first."""
    from flashgen.plan.model.facts import facts
    from flashgen.plan.model.predict import kernel_us
    from flashgen.plan.search import candidates as search
    from flashgen.plan.search import make_plan
    from flashgen.plan.steer import room
    from flashgen.targets.target import load_target

    program, target = lowered(spec, best.schedule).program, load_target(best.target)
    work = best.workload
    assert work is not None

    def choice(p: Plan, us: float) -> Choice:
        return Choice(p, room(facts(program)[kernel], p.kernels[kernel], p.dtype, target), us)

    yield choice(best, kernel_us(program, best, kernel, work))
    ranked = search(program, kernel, target, best.dtype, work, described)
    for c in ranked:
        if c.cost is not None and not c.rejected and c.plan != best.kernels[kernel]:
            row = [c] * len(program.kernels)  # of which only number ``kernel`` is taken
            other = make_plan(program, target, best.dtype, row, work)
            yield choice(best.with_kernel(kernel, other), c.cost.us)


def steering(spec: str, plan: Plan, kernel: int) -> Steering:
    """The search for what kernel number ``kernel`` of ``plan`` is compiled from, before anything is known."""
    from flashgen.plan.shared_values import shared_values
    from flashgen.plan.steer import Steering

    return Steering(shared_values(lowered(spec, plan.schedule).program.kernels[kernel]))


def confirmed_us(spec: str, plan: Plan, kernel: int, compiled: Measured) -> float:
    """The time of a kernel at its plan's workload, predicted from what the compiler made of it."""
    from flashgen.plan.model.predict import kernel_us

    assert plan.workload is not None
    return kernel_us(lowered(spec, plan.schedule).program, plan, kernel, plan.workload, compiled)


def unsound(target: str, code: bytes) -> str:
    """What is wrong with compiled code (a cubin) that no message says (``miscompiled``); nothing: ``""``.
    Kept in the cache."""
    from flashgen.targets.target import load_target

    if load_target(target).matrix != "wgmma":
        return ""

    def make() -> dict[str, str]:
        from flashgen.plan.compiler import disassembled
        from flashgen.plan.miscompiled import wrong_operands

        return {"wrong.json": json.dumps(wrong_operands(disassembled(code)))}

    try:
        _, files = entry({"what": "code", "code": hashlib.sha256(code).hexdigest()}, make)
    except (OSError, subprocess.SubprocessError):  # no disassembler here
        return ""
    return str(json.loads(files["wrong.json"]))


@lru_cache(maxsize=1024)
def generated(spec: str, plan: Plan) -> Record:
    """The module of ``plan``, generated or from the cache."""

    def make() -> dict[str, str]:
        from flashgen.driver import emit_source

        found = lowered(spec, plan.schedule)
        return texts(emit_source(found, plan), found.program, plan)

    return record(*entry({"what": "source", "spec": spec, "plan": plan.to_json()}, make))


def prepare(spec: str, target: str, dtype: str | None = None, schedule: str = "flash2") -> Record | None:
    """Plan, and generate the module for long sequences; None for the ``cpu``, which needs none."""
    plan = plans(spec, target, dtype or default_dtype(signature(spec), target), schedule=schedule)[0]
    return None if target == "cpu" else generated(spec, plan)
