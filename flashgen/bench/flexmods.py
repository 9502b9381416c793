"""A spec's expressions as the functions a user of FlexAttention would write for the same attention.

The functions are generated as Python text from the typed tree (never from the user's text) because
``torch.compile`` has to trace them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from flashgen.expr.nodes import Call, Const, Expr, Read, Var
from flashgen.expr.ops import OPS

_CALLS = {
    "where": "torch.where({0}, {1}, {2})",
    "min": "torch.where({0} <= {1}, {0}, {1})",
    "max": "torch.where({0} >= {1}, {0}, {1})",
    "neg": "(-{0})",
    "not": "(~({0}))",
    "bit_not": "(~({0}))",
    "floor": "torch.floor({0}).to(torch.int32)",
    "int": "({0}).to(torch.int32)",
    "float": "{0}",  # torch promotes an integer beside a float
}


def text(e: Expr) -> str:
    """``e`` as Python over tensors; variables keep their names."""
    if isinstance(e, Const):
        return f'float("{e.value}")' if isinstance(e.value, float) and math.isinf(e.value) else repr(e.value)
    if isinstance(e, Var):
        return e.name
    if isinstance(e, Read):
        return f"{e.name}[{', '.join(text(i) for i in e.index)}]"
    assert isinstance(e, Call)
    args = [text(a) for a in e.args]
    op = OPS[e.op]
    if e.op in _CALLS:
        return _CALLS[e.op].format(*args)
    if op.symbol and len(args) == 2:
        return f"({args[0]} {op.symbol} {args[1]})"
    return f"torch.{op.name}({', '.join(args)})"


def function(
    e: Expr, params: str, inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, int]
) -> Callable[..., torch.Tensor]:
    """``lambda params: e`` over ``inputs``, with ``Nq``, ``Nk`` and the head group as literals."""
    nq, nk = sizes["Nq"], sizes["Nk"]
    qpos = f"q + {nk - nq}" if nk != nq else "q"
    source = (
        f"def mod({params}):\n"
        f"    Nq, Nk, hkv, qpos = {nq}, {nk}, h // {sizes['group']}, {qpos}\n"
        f"    return {text(e)}\n"
    )
    space: dict[str, object] = {"torch": torch, **inputs}
    exec(compile(source, f"<flex {params}>", "exec"), space)
    mod = space["mod"]
    assert callable(mod)
    return mod


def score_mod(
    e: Expr, inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, int]
) -> Callable[..., torch.Tensor]:
    """The ``score_mod`` of a score expression."""
    return function(e, "s, b, h, q, k", inputs, sizes)


def mask_mod(
    e: Expr, inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, int]
) -> Callable[..., torch.Tensor]:
    """The ``mask_mod`` of a mask expression."""
    return function(e, "b, h, q, k", inputs, sizes)
