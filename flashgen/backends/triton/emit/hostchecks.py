"""What the host function checks before it launches: each tensor's shape, dtype, device and last stride.

Kernels check nothing: a shorter V would be read past its end. The lines call ``_check`` of
``templates/triton/checks.j2``. Names that begin with _ cannot be an input's.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashgen.expr.nodes import Expr, Var
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.program import Program, Tensor

from .address import stride_names
from .facts import literal

TORCH = {"fp16": "torch.float16", "bf16": "torch.bfloat16", "fp32": "torch.float32"}
#: What an input of each dtype may be; kernels convert what they load.
_INPUTS = {"acc": "_FLOATS", "int32": "_INTS", "bool": "(torch.bool,)"}
CONSTANTS = {
    "_FLOATS": "(torch.float32, torch.float16, torch.bfloat16)",
    "_INTS": "(torch.int32, torch.int64)",
}
#: Columns of a line, without the function's indentation.
WIDTH = 94
#: What other tensors are besides q's dtype.
_EXACT = {"acc": "torch.float32", "int64": "torch.int64"}


def elements(dtype: str, declared: Sequence[str]) -> tuple[str, ...]:
    """What q may be under a plan for ``dtype``: all that a spec declares (nothing: any) of the same size, as
    plan and text are the same for them."""
    same = (d for d in TORCH if ITEM_BYTES[d] == ITEM_BYTES[dtype])
    return tuple(d for d in same if d in declared or not declared)


def checks(program: Program, dtypes: Sequence[str], heads: tuple[int, int] | None = None) -> list[str]:
    """The lines that check what ``program`` is given, and name its lengths. ``dtypes``: what q may be;
    ``heads``: query and KV heads where the spec fixes them."""
    given = {t.name: t for t in program.tensors if t.role not in ("out", "workspace")}
    by_role = {t.role: t for t in given.values() if t.role in ("q", "k", "v")}
    q, k = by_role["q"], by_role["k"]
    lines: list[str] = []
    known: set[str] = set()
    for t in (q, k, *(t for t in given.values() if t not in (q, k))):
        lines += _lines(t, q.name, tuple(TORCH[d] for d in dtypes), known)
        names = [d.name if isinstance(d, Var) and d.name not in known else "_" for d in t.dims]
        if set(names) - {"_"}:
            lines.append(f"{', '.join(names)} = {t.name}.shape")
        known.update(names)
        if t == k:
            lines.append(f"_check_heads({q.name}, {k.name}{f', {heads}' if heads else ''})")
    return lines


def constants(program: Program) -> list[tuple[str, str]]:
    """The names that the lines of ``checks`` use for several dtypes, with what they stand for."""
    used = {_INPUTS[t.dtype] for t in program.tensors if t.role == "input"}
    return [(name, text) for name, text in CONSTANTS.items() if name in used]


def _lines(t: Tensor, q: str, matrices: tuple[str, ...], known: set[str]) -> list[str]:
    shape = _tuple([_size(d, known) for d in t.dims])
    if t.name == q:
        dtypes = _tuple(matrices)
    elif t.role == "input":
        dtypes = _INPUTS[t.dtype]
    else:
        dtypes = _tuple([f"{q}.dtype" if t.dtype == "elem" else _EXACT[t.dtype]])
    told = [f'"{t.argument or t.name}"', t.name, shape, dtypes]
    told += [] if t.name == q else [f"{q}.device"]
    told += ["rows=False"] if not t.dims or stride_names(t)[-1] is not None else []
    line = f"_check({', '.join(told)})"
    if len(line) <= WIDTH:
        return [line]
    return ["_check(", f"    {', '.join(told[:2])},", f"    {', '.join(told[2:])},", ")"]


def _size(d: Expr, known: set[str]) -> str:
    if isinstance(d, Var):
        return d.name if d.name in known else "None"
    return str(literal(d, {}))


def _tuple(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
