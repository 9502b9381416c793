"""Which target a CUDA device is: the file of ``specs/targets`` with its architecture, and its name where
several share one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch

from flashgen.errors import PlanError
from flashgen.targets.named import is_kin, is_named

from .cache import entry


@dataclass(frozen=True)
class Known:
    """What is needed of a target to run on it: a reading of the whole file takes longer than a launch."""

    name: str
    arch: str
    description: str
    smem_bytes: int
    sms: int = 0


@lru_cache(maxsize=64)
def target_of(index: int) -> Known:
    """The target of CUDA device ``index``. Raises ``PlanError`` where no file describes it."""
    device = torch.cuda.get_device_properties(index)
    return match(device.name, arch_of(device), known(), device.multi_processor_count)


def arch_of(device: object) -> str:
    """``sm_90`` or ``gfx942``, from torch's properties of a device."""
    if torch.version.hip:
        return str(getattr(device, "gcnArchName", "")).split(":")[0]
    return f"sm_{getattr(device, 'major', 0)}{getattr(device, 'minor', 0)}"


def match(device: str, arch: str, targets: Mapping[str, Known], sms: int = 0) -> Known:
    """The target of architecture ``arch``; among several the device's own name decides, else its kind and
    the number of SMs."""
    same = [t for t in targets.values() if t.arch == arch]
    if not same:
        archs = ", ".join(f"{t.name} ({t.arch})" for t in targets.values())
        raise PlanError(
            f"no target describes {device} ({arch}); there are {archs}. A file {arch}.yaml in specs/targets "
            "with its numbers would work"
        )
    named = [t for t in same if is_named(t.name, device)]
    if named:
        return max(named, key=lambda t: len(t.name))
    return min(same, key=lambda t: (not is_kin(t.description, device), abs(t.sms - sms)))


@lru_cache(maxsize=1)
def known() -> Mapping[str, Known]:
    """Every target by name, through the cache."""
    _, files = entry({"what": "targets"}, _read)
    return {name: Known(**fields) for name, fields in json.loads(files["targets.json"]).items()}


def _read() -> dict[str, str]:
    from flashgen.targets.target import load_target, target_names

    targets = [t for t in map(load_target, target_names()) if t.arch.startswith(("sm_", "gfx"))]
    rows = {
        t.name: asdict(Known(t.name, t.arch, t.description, t.smem_bytes, t.integer("sms"))) for t in targets
    }
    return {"targets.json": json.dumps(rows)}
