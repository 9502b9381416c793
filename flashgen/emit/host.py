"""The host function at the end of a module: shapes, allocation, launches, results. Plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Const, Expr, Var, integer, substitute
from flashgen.expr.ops import OPS
from flashgen.ir.program import Program, Tensor
from flashgen.plan.plan import Plan

from .source import Arg, KernelSource
from .text import PRODUCT, UNARY, constant, wrap

#: How sizes look in plain Python, whose // and % round down as they should.
_INFIX = {op: (f" {OPS[op].symbol} ", OPS[op].precedence) for op in ("add", "sub", "mul", "floordiv", "mod")}
_CALLS = {"cdiv": "triton.cdiv", "min": "min", "max": "max", "abs": "abs"}
_DTYPES = {"elem": "q.dtype", "acc": "torch.float32", "int32": "torch.int32", "bool": "torch.bool"}


def host_text(e: Expr, sides: Mapping[str, int], tighter_than: int = 0) -> str:
    """A size as plain Python, with numbers for the tile sides."""
    e = al.simplify(substitute(e, {n: integer(v) for n, v in sides.items()}))
    return wrap(_plain(e), tighter_than)


def _plain(e: Expr) -> tuple[str, int]:
    if isinstance(e, Const):
        return constant(e)
    if isinstance(e, Var):
        return e.name, 100
    op = getattr(e, "op", "")
    args = [_plain(a) for a in getattr(e, "args", ())]
    if op in _INFIX:
        symbol, own = _INFIX[op]
        left, right = wrap(args[0], own - 1), wrap(args[1], own)
        return f"{left}{symbol}{right}", own
    if op == "neg":
        return f"-{wrap(args[0], UNARY)}", UNARY
    return f"{_CALLS[op]}({', '.join(t for t, _ in args)})", 100


def host_facts(program: Program, plan: Plan, kernels: Sequence[KernelSource], note: str) -> dict[str, Any]:
    """What the template of the host function prints."""
    given = [t for t in program.tensors if t.role in ("q", "k", "v", "input")]
    made = [t for t in program.tensors if t.role in ("out", "workspace")]
    return {
        "parameters": [*(t.name for t in given), *program.floats],
        "note": note,
        "shapes": _shapes(program),
        "allocated": [(t.name, _shape(t), _DTYPES.get(t.dtype, "torch.float32")) for t in made],
        "launches": [_launch(k, plan) for k in kernels],
        "results": [t.name for t in made if t.role == "out"],
    }


def _shapes(program: Program) -> list[str]:
    """Each length from the first tensor that has it."""
    lines, seen = [], set[str]()
    for t in program.tensors:
        if t.role not in ("q", "k", "v"):
            continue
        names = [d.name if isinstance(d, Var) and d.name not in seen else "_" for d in t.dims]
        seen.update(names)
        if set(names) != {"_"}:
            lines.append(f"{', '.join(names)} = {t.name}.shape")
    rows = " == ".join(f"{t.name}.stride(-1)" for t in program.tensors if t.role in ("q", "k", "v"))
    return [*lines, f'assert {rows} == 1, "rows must be contiguous"']


def _shape(t: Tensor) -> str:
    return f"({', '.join(host_text(d, {}) for d in t.dims)})"


def _launch(k: KernelSource, plan: Plan) -> dict[str, Any]:
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
        "descriptor": lambda: (
            f"TensorDescriptor({a.tensor}, {a.tensor}.shape, {a.tensor}.stride(), {list(a.block)})"
        ),
        "stride": lambda: f"{a.tensor}.stride({a.dim})",
        "constexpr": lambda: f"{a.name}={a.value}",
    }
    return by_kind.get(a.kind, lambda: a.name)()


def _packed(arguments: list[str]) -> list[str]:
    """Positional arguments several to a line, one kind or tensor a line as far as they fit."""
    lines: list[str] = []
    last = ""
    for text in arguments:
        kind = text.split(".stride")[0] if ".stride" in text else "=" if "=" in text else ""
        if lines and kind == last and len(lines[-1]) + len(text) < 84:
            lines[-1] += f", {text}"
        else:
            lines.append(text)
        last = kind
    return lines


def _group(plan: Plan) -> list[str]:
    """``Plan.group_for`` as text."""
    wanted = max(k.order.group for k in plan.kernels)
    return [
        f"# About {wanted} heads are launched together, whole KV heads, in even groups.",
        "shared = max(Hq // max(Hkv, 1), 1)",
        "kv_heads = triton.cdiv(B * Hq, shared)",
        f"groups = max(triton.cdiv(kv_heads, max({wanted} // shared, 1)), 1)",
        "head_group = max(triton.cdiv(kv_heads, groups), 1) * shared",
    ]
