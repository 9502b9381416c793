"""Plans found by measuring (``flashgen tune``): one JSON file for each, in the cache and in folders that
``FLASHGEN_TUNED`` names, so that they can be committed beside a model.

A file says what it is for: spec, schedule, dtype, target, and the device it was measured on. The runtime
takes it for calls whose sizes are near its workload's (``plan.nearest``). It holds no code: a plan that no
longer fits its program is passed over, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashgen.errors import PlanError
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Plan
from flashgen.resources import cache_folder

#: Folders of tuned plans beside the cache's, separated as in PATH.
VARIABLE = "FLASHGEN_TUNED"


@dataclass(frozen=True)
class Tuned:
    """A plan with ``measured_us`` and what it was measured for.

    ``untuned_us``: the same kernels in the plan that the model had chosen; ``tried``: candidates timed.
    """

    spec: str
    device: str
    plan: Plan
    untuned_us: tuple[float, ...]
    tried: int
    versions: str

    @property
    def file_name(self) -> str:
        """The name of its file."""
        p = self.plan
        assert p.workload is not None
        return file_name(self.spec, p.schedule, p.dtype, p.target, p.workload)

    def write(self, folder: Path) -> Path:
        """The file in ``folder``, written beside its place and renamed into it."""
        folder.mkdir(parents=True, exist_ok=True)
        fields: dict[str, Any] = {
            "spec": json.loads(self.spec),
            "device": self.device,
            "plan": json.loads(self.plan.to_json()),
            "untuned_us": self.untuned_us,
            "tried": self.tried,
            "versions": self.versions,
        }
        path = folder / self.file_name
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(draft, path)
        return path


def file_name(spec: str, schedule: str, dtype: str, target: str, w: Workload) -> str:
    """``causal-backward-bf16-h100-b2-h16x16-n8192x8192-1a2b3c4d.json``; ``spec`` is canonical JSON."""
    sizes = f"b{w.B}-h{w.Hq}x{w.Hkv}-n{w.Nq}x{w.Nk}"
    return f"{json.loads(spec)['name']}-{schedule}-{dtype}-{target}-{sizes}-{_short(spec)}.json"


def own_folder() -> Path:
    """Where ``flashgen tune`` remembers its results."""
    return cache_folder() / "tuned"


def folders() -> list[Path]:
    """Where plans are looked for: the folders of ``FLASHGEN_TUNED`` first, then the cache's."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [*(Path(n) for n in named if n), own_folder()]


def recall(spec: str, schedule: str, dtype: str, target: str) -> tuple[Plan, ...]:
    """The tuned plans of a spec (its canonical JSON), of each workload the first found."""
    found: dict[object, Plan] = {}
    for folder in folders():
        for path in sorted(folder.glob(f"*-{schedule}-{dtype}-{target}-*-{_short(spec)}.json")):
            plan = _read(path, spec, schedule)
            if plan is not None:
                found.setdefault(plan.workload, plan)
    return tuple(found.values())


def _read(path: Path, spec: str, schedule: str) -> Plan | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        plan = Plan.from_json(json.dumps(fields["plan"]))
        if fields["spec"] != json.loads(spec) or plan.schedule != schedule:
            return None  # another spec whose hash begins alike
        if plan.workload is None or len(plan.measured_us) != len(plan.kernels):
            raise PlanError("it was not measured")
        _check(plan, spec)
    except (OSError, ValueError, KeyError, TypeError, PlanError) as e:
        warnings.warn(f"{path} is passed over: {e}. `flashgen tune` writes a new one", stacklevel=2)
        return None
    return plan


def _check(plan: Plan, spec: str) -> None:
    """Raise ``PlanError`` where ``plan`` has other kernels than the spec's program."""
    from .source import lowered

    kernels = lowered(spec, plan.schedule).program.kernels
    axes = [tuple(g.name for g in k.grid) for k in kernels]
    if [k.order.axes for k in plan.kernels] != axes:
        raise PlanError(f"its kernels are not those of the schedule {plan.schedule} any more")


def _short(spec: str) -> str:
    return hashlib.sha256(spec.encode()).hexdigest()[:8]
