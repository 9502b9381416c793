"""The target that a calibration starts from: the file of the GPU's own name, else that of the nearest
architecture with what the GPU reports of itself put in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flashgen.targets.named import is_kin, is_named
from flashgen.targets.target import Target, load_target, target_names

from .fit import with_values
from .measurements import Device

#: What a device reports, by the name in a target: the attribute of torch's properties, and units of it.
REPORTED: Mapping[str, tuple[str, float]] = {
    "sms": ("multi_processor_count", 1),
    "smem_per_block": ("shared_memory_per_block_optin", 1),
    "smem_per_sm": ("shared_memory_per_multiprocessor", 1),
    "registers_per_sm": ("regs_per_multiprocessor", 1),
    "threads_per_sm": ("max_threads_per_multi_processor", 1),
    "l2": ("L2_cache_size", 1),
    "hbm_capacity": ("total_memory", 1),
    "clock": ("clock_rate", 1e-6),
}
#: Rates of a whole GPU that grow with its SMs.
BY_SMS = ("fp16_rate", "bf16_rate", "tf32_rate", "fp32_rate")


def reported(properties: object) -> dict[str, float]:
    """A target's numbers as torch's properties of a device state them, as far as they do."""
    found = {}
    for name, (attribute, unit) in REPORTED.items():
        value = getattr(properties, attribute, None)
        if value:
            found[name] = value * unit
    khz, bits = (getattr(properties, a, None) for a in ("memory_clock_rate", "memory_bus_width"))
    if khz and bits:  # two transfers a clock
        found["hbm_rate"] = 2 * khz * bits / 8 * 1e-6
    return found


def nearest(device: Device, targets: Sequence[Target]) -> tuple[Target, bool]:
    """The target of the device's own name, architecture and number of SMs, and True; else that of the
    nearest architecture, of its kind and with the most nearly as many SMs, and False."""

    def far(t: Target) -> tuple[object, ...]:
        off = abs(t.number("sms") - device.reported.get("sms", 0))
        named, kin = is_named(t.name, device.name), is_kin(t.description, device.name)
        return (*_distance(t.arch, device.arch), not named, not kin, off)

    near = min(targets, key=far)
    sms = device.reported.get("sms", near.number("sms"))
    return near, near.arch == device.arch and is_named(near.name, device.name) and near.number("sms") == sms


def _distance(mine: str, other: str) -> tuple[bool, int]:
    (kind, number), (wanted, goal) = (_parts(a) for a in (mine, other))
    return kind != wanted, abs(number - goal)


def _parts(arch: str) -> tuple[str, int]:
    found = re.match(r"([a-z_]+)([0-9a-f]*)", arch)
    assert found is not None
    kind, number = found.groups()
    return kind, int(number or "0", 10 if kind == "sm_" else 16)


def start_for(device: Device, name: str | None = None) -> Target:
    """The target called ``name`` (or of that file), or the one to start from for ``device``."""
    if name is not None:
        return load_target(name)
    gpus = [t for t in map(load_target, target_names()) if t.backend == "triton"]
    near, known = nearest(device, gpus)
    if known:
        return near
    values = {n: x for n, x in device.reported.items() if n in near.numbers}
    more = values.get("sms", near.number("sms")) / near.number("sms")
    values |= {n: near.number(n) * more for n in BY_SMS if n in near.numbers}
    sources = dict.fromkeys(values, "reported") | {n: "scaled" for n in BY_SMS if n in values}
    texts = {
        "reported": f"reported by the device, {device.name}, {device.versions}",
        "scaled": f"the rate of {near.name} ({near.arch}) a multiprocessor, for as many as are here",
    }
    target = with_values(near, values, sources)
    return target.model_copy(
        update={
            "description": f"{device.name}; what it does not report is that of {near.description}",
            "arch": device.arch,
            "sources": {**near.sources, **texts},
            "note": "",
        }
    )
