"""From a spec's canonical JSON to generated modules, through the cache: plans first, then their source.

A spec has a few plans on a target, for long to short workloads. A call's sizes say which, so a new length
seldom compiles anything (``plan.cover``).
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from flashgen.errors import PlanError
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.plan import Plan

from .cache import entry
from .record import Record, record, texts
from .signature import default_dtype, signature
from .tuned import recall

if TYPE_CHECKING:
    from flashgen.driver import Lowered
    from flashgen.plan.select import Compile, Search


@lru_cache(maxsize=256)
def lowered(spec: str, schedule: str = "flash2") -> Lowered:
    """A spec's program by a schedule. Raises ``SpecError`` for JSON that is no sound spec."""
    from flashgen.driver import lower_spec
    from flashgen.spec.model import AttentionSpec

    return lower_spec(AttentionSpec.from_json(spec), schedule)


@lru_cache(maxsize=1024)
def boxes(spec: str, schedule: str = "flash2") -> frozenset[str]:
    """The tensors of which the loops of a spec's program read boxes. Kept in the cache, so that a later
    process lowers nothing."""

    def make() -> dict[str, str]:
        from flashgen.plan.model.facts import streamed

        return {"boxes.json": json.dumps(sorted(streamed(lowered(spec, schedule).program)))}

    _, files = entry({"what": "boxes", "spec": spec, "schedule": schedule}, make)
    return frozenset(json.loads(files["boxes.json"]))


@lru_cache(maxsize=4096)
def best_plan(
    spec: str, target: str, dtype: str, work: Workload, schedule: str = "flash2", described: bool = True
) -> Plan:
    """The plan of calls of these sizes, which ``cover`` finds without compiling anything.

    ``described``: what loops read is laid out so that tensor descriptors can read it. ``work`` counts as
    rounded. Raises ``PlanError`` where there is none. Kept in the cache, as are the plans it is made from.
    """
    if work != work.rounded():
        return best_plan(spec, target, dtype, work.rounded(), schedule, described)

    def best(at: Workload, may: bool) -> Plan:
        return _best(spec, target, dtype, at, may, schedule)

    def make() -> dict[str, str]:
        from flashgen.plan.cover import planned
        from flashgen.targets.target import load_target

        found = planned(lowered(spec, schedule).program, load_target(target), best, work, described)
        return {"plan.json": found.to_json()}

    asked = {"what": "plan", "spec": spec, "target": target, "dtype": dtype, "described": described}
    return _plan(entry(asked | {"schedule": schedule, "work": work.names()}, make))


@lru_cache(maxsize=1024)
def _best(spec: str, target: str, dtype: str, work: Workload, described: bool, schedule: str) -> Plan:
    """The fastest plan for a workload, by the model."""

    def make() -> dict[str, str]:
        from flashgen.plan.search import choose

        program = lowered(spec, schedule).program
        return {"plan.json": choose(program, target, dtype, work, described=described).to_json()}

    asked = {"what": "best", "spec": spec, "target": target, "dtype": dtype, "described": described}
    return _plan(entry(asked | {"schedule": schedule, "work": work.names()}, make))


def _plan(found: tuple[object, Mapping[str, str]]) -> Plan:
    return Plan.from_json(found[1]["plan.json"])


def measured(spec: str, schedule: str, dtype: str, target: str, described: bool) -> tuple[Plan, ...]:
    """The plans that ``flashgen tune`` found for this spec and GPU, as far as these layouts can run them."""
    found = recall(spec, schedule, dtype, target)
    return tuple(p for p in found if described or all(k.loads == "pointer" for k in p.kernels))


def selected(spec: str, plan: Plan, described: bool, compile: Compile) -> Plan:
    """``plan`` with the kernels that the compiler accepts. Raises ``PlanError``, with the reason of each
    that was tried, where it accepts none of a kernel."""
    from flashgen.plan.select import select, settled

    of = searches(spec, plan, described)
    select(of, compile)
    if stuck := next((s for s in of if s.chosen is None), None):
        said = f"no candidate for {plan.dtype} on {plan.target} compiles within its limits"
        raise PlanError(f"{said}:\n  {stuck.reasons}")
    return settled(plan, of)


def searches(spec: str, plan: Plan, described: bool) -> list[Search]:
    """The search of each kernel of ``plan`` (``plan.select``), before anything is known. A call takes what
    spills least where all spill too much: slow, but right."""
    from flashgen.plan.select import searches
    from flashgen.targets.target import load_target

    program = lowered(spec, plan.schedule).program
    return searches(program, plan, load_target(plan.target), described, allowed=math.inf)


def unsound(target: str, code: bytes) -> str:
    """What is wrong with compiled code (a cubin) that no message says (``miscompiled``); nothing: ``""``.
    Kept in the cache."""
    from flashgen.targets.target import load_target

    if load_target(target).matrix != "wgmma":
        return ""

    def make() -> dict[str, str]:
        from flashgen.backends.triton.compiler import disassembled
        from flashgen.backends.triton.miscompiled import wrong_operands

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
    known = signature(spec)
    heads = dict(zip(("Hq", "Hkv"), known.heads, strict=True)) if known.heads else {}
    plan = best_plan(spec, target, dtype or default_dtype(known, target), replace(LONG, **heads), schedule)
    return None if target == "cpu" else generated(spec, plan)
