"""The host function at the end of a module: shapes, allocation, launches, results. Plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flashgen.ir.program import Program, Tensor
from flashgen.plan.plan import KernelPlan, Plan
from flashgen.plan.source import Arg, KernelSource

from .ops import PRODUCT
from .parameters import Parameters
from .python import host_text
from .sums import sum_lines

_DTYPES = {"elem": "q.dtype", "acc": "torch.float32", "int32": "torch.int32", "bool": "torch.bool"}


def host_facts(
    program: Program,
    plan: Plan,
    kernels: Sequence[KernelSource],
    note: str,
    checked: Sequence[str],
    called: Parameters,
) -> dict[str, Any]:
    """What the template of the host function prints; ``checked`` are the lines of ``hostchecks``."""
    given = [t for t in program.tensors if t.role not in ("out", "workspace")]
    made = [t for t in program.tensors if t.role in ("out", "workspace")]
    summed = {s.dst for s in program.sums}
    return {
        "function": function(program),
        "parameters": [*(called.names.get(t.name, t.name) for t in given), *program.floats],
        "note": note,
        "checks": [*called.lines, *checked],
        "allocated": [
            (
                t.name,
                "zeros" if t.name in summed else "empty",
                _shape(t),
                _DTYPES.get(t.dtype, "torch.float32"),
            )
            for t in made
        ],
        "launches": [_launch(k, p) for k, p in zip(kernels, plan.kernels, strict=True)],
        "sums": [line for s in program.sums for line in sum_lines(s)],
        "results": [t.name for t in made if t.role == "out"],
    }


def function(program: Program) -> str:
    """The name of a module's host function."""
    return "backward" if any(t.role == "saved" for t in program.tensors) else "forward"


def _shape(t: Tensor) -> str:
    return f"({', '.join(host_text(d, {}) for d in t.dims)}{',' if len(t.dims) == 1 else ''})"


def _launch(k: KernelSource, plan: KernelPlan) -> dict[str, Any]:
    factors = [host_text(e, k.sides, PRODUCT - 1) for e in k.extents]
    options = [f"num_warps={k.num_warps}", f"num_stages={k.num_stages}"]
    if k.max_registers:
        options.append(f"maxnreg={k.max_registers}")
    grouped = any(a.kind == "group" for a in k.args)
    return {
        "name": k.name,
        "programs": " * ".join(factors),
        "arguments": [*_packed([_argument(a) for a in k.args]), *options],
        "group": _group(plan) if grouped else [],
    }


def _argument(a: Arg) -> str:
    by_kind: dict[str, Callable[[], str]] = {
        "ptr": lambda: str(a.tensor),
        "descriptor": lambda: f'_descriptor("{a.tensor}", {a.tensor}, {list(a.block)})',
        "stride": lambda: f"{a.tensor}.stride({a.dim})",
        "constexpr": lambda: f"{a.name}={a.value}",
    }
    return by_kind.get(a.kind, lambda: a.name)()


def _packed(arguments: list[str]) -> list[str]:
    """Positional arguments several to a line, one kind or tensor a line as far as they fit."""
    lines: list[str] = []
    last: object = False
    for text in arguments:
        kind = text.split(".stride")[0] if ".stride" in text else "=" if "=" in text else text[:1] == "_"
        if lines and kind == last and len(lines[-1]) + len(text) < 84:
            lines[-1] += f", {text}"
        else:
            lines.append(text)
        last = kind
    return lines


def _group(plan: KernelPlan) -> list[str]:
    """``Plan.group_for`` as text."""
    wanted = plan.order.group
    if "hkv" in plan.order.axes:
        return [
            f"# About {wanted} KV heads are launched together, in even groups.",
            f"groups = triton.cdiv(B * Hkv, {wanted})",
            "head_group = triton.cdiv(B * Hkv, max(groups, 1))",
        ]
    return [
        f"# About {wanted} heads are launched together, whole KV heads, in even groups.",
        "shared = max(Hq // max(Hkv, 1), 1)",
        "kv_heads = triton.cdiv(B * Hq, shared)",
        f"groups = max(triton.cdiv(kv_heads, max({wanted} // shared, 1)), 1)",
        "head_group = max(triton.cdiv(kv_heads, groups), 1) * shared",
    ]
