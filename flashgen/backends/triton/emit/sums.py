"""The sums that follow a program's kernels as lines of the host function: plain torch, a fixed order."""

from __future__ import annotations

from flashgen.expr.nodes import Var
from flashgen.interpret import sums
from flashgen.ir.program import Sum

from .python import tensor_text


def sum_lines(s: Sum) -> list[str]:
    """The statements that add the workspace to its tensor."""
    if sums.plain(s):
        src = s.src
        if sums.axes(s) != s.axes:
            src = f"{src}.unflatten({s.axes.index('h')}, (Hkv, -1))"
        over = sums.summed(s)
        if over:
            src = f"{src}.sum({over if len(over) > 1 else over[0]})"
        order = sums.order(s)
        if order != tuple(sorted(order)):
            src = f"{src}.permute({', '.join(map(str, order))})"
        place = ", ".join(":" if isinstance(e, Var) else "0" for e in s.index)
        whole = all(isinstance(e, Var) for e in s.index)
        return [f"{s.dst} += {src}" if whole else f"{s.dst}[{place}] += {src}"]
    idle = sums.unused(s)
    rank = len(s.axes)
    src = f"{s.src}.sum({idle}, keepdim=True)" if idle else s.src
    lines = [f"x = {src}  # every element goes where its index says"]
    for i, a in enumerate(s.axes):
        if i not in idle:
            view = ", ".join("-1" if j == i else "1" for j in range(rank))
            lines.append(f"{a} = torch.arange(x.shape[{i}], device=x.device).view({view})")
    if "h" in s.axes and "hkv" not in s.axes and s.axes.index("h") not in idle:
        lines.append("hkv = h // (Hq // Hkv)")
    names = [f"i{i}" for i in range(len(s.index))]
    for i, (name, e) in enumerate(zip(names, s.index, strict=True)):
        lines.append(f"{name} = torch.as_tensor({tensor_text(e)}, device=x.device).expand(x.shape)")
        lines.append(f"x = x.where(({name} >= 0) & ({name} < {s.dst}.shape[{i}]), 0.0)")
    places = ", ".join(f"{name}.clamp(0, {s.dst}.shape[{i}] - 1)" for i, name in enumerate(names))
    return [*lines, f"{s.dst}.index_put_(({places},), x, accumulate=True)"]
