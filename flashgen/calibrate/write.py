"""A calibrated target as a YAML file like those of ``specs/targets``: numbers with units and sources."""

from __future__ import annotations

import json
from pathlib import Path

from flashgen.targets.target import Number, Target

from .fit import SHARES, Fit, with_values
from .measurements import Measurements

_PLAIN = ("name", "description", "backend", "arch", "matrix", "warp_size")
_MAYBE = ("async_copies", "descriptors", "register_caps", "note")


def sourced(fit: Fit, found: Measurements) -> Target:
    """The fitted target, whose new numbers cite what was measured, on which device, with which versions."""
    d, start = found.device, fit.start
    where = f"on {d.name}, {d.versions}"
    specs = dict.fromkeys(r.mask or "no mask" for r in found.rows)
    lengths = sorted({r.work.Nk for r in found.rows})
    dims = ", ".join(map(str, sorted({r.head_dim for r in found.rows})))
    dtype = found.rows[0].dtype
    copied, multiplied = (f"{x:,.0f}" for x in (d.copy_gb_per_s, d.matmul_tflop_per_s))
    texts = {
        "calibrated": f"fitted by flashgen calibrate to {len(found.rows)} attention kernels "
        f"({' and '.join(specs)}; head dims {dims}; lengths {lengths[0]:,} to {lengths[-1]:,}; {dtype}) "
        f"{where}; predicted times are {100 * fit.after.rms:.1f}% off (rms)",
        "copied": f"{copied} of {start.number('hbm_rate'):,.0f} GB/s in a device copy, read and "
        f"written, {where}",
        "multiplied": f"{multiplied} of {start.number(f'{dtype}_rate'):,.0f} TFLOP/s in a {dtype} matrix "
        f"product, {where}",
    }
    cites = {"hbm_sustained": "copied", "sustained": "multiplied"}
    moved = dict.fromkeys(fit.names, "calibrated") | {
        n: cites[n] for n in SHARES if n not in fit.names and fit.target.number(n) != start.number(n)
    }
    values = {n: fit.target.number(n) for n in moved}
    target = with_values(fit.target, values, moved)
    cited = {n.source for n in target.numbers.values()}
    sources = {k: v for k, v in (fit.target.sources | texts).items() if k in cited}
    return target.model_copy(update={"sources": sources})


def yaml_text(target: Target) -> str:
    """The file; ``read_target`` gives the equal target back."""
    lines = [f"{name}: {_scalar(getattr(target, name))}" for name in _PLAIN]
    fields = type(target).model_fields
    lines += [
        f"{name}: {_scalar(value)}"
        for name in _MAYBE
        if (value := getattr(target, name)) != fields[name].default
    ]
    lines += ["sources:", *(f"  {key}: {_scalar(text)}" for key, text in target.sources.items())]
    lines += ["numbers:", *(f"  {name}: {_number(n)}" for name, n in target.numbers.items())]
    return "\n".join(lines) + "\n"


def write(target: Target, path: Path) -> None:
    """Write ``target`` under the name of its file."""
    named = target.model_copy(update={"name": path.stem})
    path.write_text(yaml_text(named), encoding="utf-8")


def _number(n: Number) -> str:
    value = int(n.value) if n.value == int(n.value) else n.value
    return f"{{value: {value}, unit: {_scalar(n.unit)}, source: {n.source}}}"


def _scalar(value: object) -> str:
    """A YAML scalar; JSON's strings are YAML's double-quoted ones."""
    text = json.dumps(value, ensure_ascii=False)
    plain = isinstance(value, str) and value.replace("_", "").isalnum() and value[0].isalpha()
    return str(value) if plain else text
