"""What is left of a reduction after the kernels: a workspace summed into a tensor, in a fixed order.

The index of a ``Sum`` is plain where each entry is an axis of the workspace (``hkv`` stands for groups of
``h``): then it is one ``sum``. Elsewhere elements are added one after another to the computed places; what
was read outside of the input has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from flashgen.expr.evaluate import evaluate_torch
from flashgen.expr.nodes import Const, Read, Var, variables
from flashgen.ir.program import Sum

from .traffic import Traffic


def plain(s: Sum) -> bool:
    """Whether every index entry is an axis of the workspace, each at most once, or 0."""
    names = [e.name for e in s.index if isinstance(e, Var)]
    zeros = [e for e in s.index if isinstance(e, Const) and e.value == 0]
    own = set(names) <= {*s.axes, "hkv"} and len(set(names)) == len(names) and not {"h", "hkv"} <= set(names)
    return own and len(names) + len(zeros) == len(s.index)


def summed(s: Sum) -> tuple[int, ...]:
    """The dims of the workspace (with heads split into groups where ``hkv`` is an index) that are summed."""
    kept = {e.name for e in s.index if isinstance(e, Var)}
    return tuple(i for i, a in enumerate(axes(s)) if a not in kept)


def axes(s: Sum) -> tuple[str, ...]:
    """The workspace's axes, heads as (KV head, member of its group) where ``hkv`` is an index."""
    grouped = any(e == Var("hkv", "int") for e in s.index) and "h" in s.axes
    split = {"h": ("hkv", "member")} if grouped else {}
    return tuple(x for a in s.axes for x in split.get(a, (a,)))


def order(s: Sum) -> tuple[int, ...]:
    """Where each index entry's axis stands among those that are kept (entries that are 0 apart)."""
    kept = [a for i, a in enumerate(axes(s)) if i not in summed(s)]
    return tuple(kept.index(e.name) for e in s.index if isinstance(e, Var))


def total(
    s: Sum, memory: dict[str, torch.Tensor], known: Mapping[str, Any], traffic: Traffic | None = None
) -> None:
    """Adds the workspace to its sum's tensor, counted where ``traffic`` is given."""
    src, dst = memory[s.src], memory[s.dst]
    if plain(s) and dst.numel():
        if axes(s) != s.axes:
            i, heads = s.axes.index("h"), int(known["Hkv"])
            src = src.reshape(*src.shape[:i], heads, src.shape[i] // heads, *src.shape[i + 1 :])
        found = src.sum(summed(s)) if summed(s) else src
        place = dst[tuple(slice(None) if isinstance(e, Var) else 0 for e in s.index)]
        place += found.permute(order(s))
        _count(traffic, s, src, dst, place.numel())
        return
    idle = unused(s)
    src = src.sum(idle, keepdim=True) if idle else src
    if src.numel() == 0 or dst.numel() == 0:
        return
    places = positions(s, src, known)
    inside = torch.stack([(p >= 0) & (p < n) for p, n in zip(places, dst.shape, strict=True)]).all(0)
    places = [p.clamp(0, n - 1) for p, n in zip(places, dst.shape, strict=True)]
    dst.index_put_(tuple(places), src.where(inside, 0.0), accumulate=True)
    _count(traffic, s, memory[s.src], dst, int(inside.sum()))


def _count(traffic: Traffic | None, s: Sum, src: torch.Tensor, dst: torch.Tensor, places: int) -> None:
    if traffic is not None:
        traffic.read[s.src] += src.numel() * src.element_size()
        traffic.read[s.dst] += places * dst.element_size()
        traffic.written[s.dst] += places * dst.element_size()


def unused(s: Sum) -> tuple[int, ...]:
    """The dims of the workspace that a computed index does not look at."""
    seen = {v for e in s.index for v in variables(e)}
    seen |= {"h"} if "hkv" in seen else set()
    return tuple(i for i, a in enumerate(s.axes) if a not in seen)


def positions(s: Sum, src: torch.Tensor, known: Mapping[str, Any]) -> list[torch.Tensor]:
    """The index as numbers for every element of the workspace."""
    values: dict[str, Any] = dict(known)
    for i, (a, n) in enumerate(zip(s.axes, src.shape, strict=True)):
        view = [1] * src.dim()
        view[i] = n
        values[a] = torch.arange(n, device=src.device).view(view)
    if "h" in values and "hkv" not in s.axes:
        values["hkv"] = values["h"] // (int(known["Hq"]) // int(known["Hkv"]))
    found = [evaluate_torch(e, values, _no_reads, torch.float32) for e in s.index]
    return [torch.as_tensor(f, device=src.device).expand(src.shape) for f in found]


def _no_reads(read: Read, index: Any) -> Any:
    raise AssertionError(f"{read.name} is read in an index of a sum")
