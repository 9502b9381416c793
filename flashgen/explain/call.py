"""The call that a plan is for: its sizes in words, and whether its tensors fit the GPU's memory."""

from __future__ import annotations

import math

from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.trips import extent
from flashgen.targets.target import Target


def call_text(program: Program, w: Workload) -> str:
    """``B=4 Hq=32 Hkv=8 Nq=8192 Nk=8192 D=64``: the lengths and the head dim, with V's where it differs."""
    d, d_v = (extent(program.tensor(role).dims[-1], w, {}) for role in ("q", "v"))
    own = f" Dv={d_v}" if d_v != d else ""
    return " ".join(f"{name}={n}" for name, n in w.names().items()) + f" D={d}{own}"


def call_bytes(program: Program, dtype: str, w: Workload) -> int:
    """Bytes of all tensors of a call, workspaces included, where q is of ``dtype``."""
    return sum(
        math.prod(extent(n, w, {}) for n in t.dims) * item_bytes(t.dtype, dtype) for t in program.tensors
    )


def capacity_notes(program: Program, target: Target, dtype: str, w: Workload) -> list[str]:
    """A note where the tensors of the call are more than ``target`` has memory for."""
    needed, most = call_bytes(program, dtype, w), target.number("hbm_capacity")
    if needed <= most:
        return []
    note = (
        f"the call's tensors take {needed / 1e9:,.1f} GB, and {target.name} has {most / 1e9:,.0f} GB "
        "(hbm_capacity): this call cannot be made there"
    )
    return [note]
