"""The derivative of ``flashgen::attention``, and both ops under ``torch.func.vmap``.

The forward pass saves its arguments, the dropout's seed and, where the row function wants them, ``out`` and
``lse``; the backward op computes P
again. A second derivative is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._library.autograd import Info, make_autograd_impl

from flashgen.errors import TensorError

from . import op
from .check import check_learned, check_tangents, differentiated
from .mapped import batched, mapped
from .signature import signature


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: op.Results) -> None:
    """Saves what the backward pass needs. Raises ``TensorError`` where a gradient would be lost."""
    q, k, v, listed, spec, seed = inputs
    sig = signature(spec)
    check_learned(sig, [t.requires_grad for t in (q, k, v, *listed)])
    out, lse, rest = output
    ctx.set_materialize_grads(False)
    ctx.spec, ctx.seeded = spec, seed is not None
    results = (out, lse, *rest) if sig.saved else (lse, lse)  # of no elements, it stands for both
    ctx.save_for_backward(q, k, v, *listed, *results, *([seed] if seed is not None else []))


def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None, _rest: Any) -> tuple[Any, ...]:
    """Gradients of the op's arguments."""
    sig = signature(ctx.spec)
    saved = list(ctx.saved_tensors)
    seed = saved.pop() if ctx.seeded else None
    q, k, v, *inputs = saved[: 3 + len(sig.inputs)]
    out, lse, *rest = saved[3 + len(sig.inputs) :]
    if dout is None and dlse is None:
        return None, None, None, [None] * len(inputs), None, None
    rows = torch.zeros_like(out) if dout is None else dout
    dq, dk, dv, learned = op.attention_backward(rows, dlse, q, k, v, inputs, out, lse, rest, ctx.spec, seed)
    found = iter(learned)
    return dq, dk, dv, [next(found) if i.grad else None for i in sig.inputs], None, None


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def second_derivative() -> str:
    """What is said where one is asked for."""
    return (
        "flashgen has no second derivative: call backward() or torch.autograd.grad() without "
        "create_graph=True"
    )


def _twice(ctx: Any, *grads: Any) -> Any:
    raise TensorError(second_derivative())


def _over_batch(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    """vmap: one call for each entry of the mapped dim, results stacked. Right for every input; a mapped
    dim that is a batch is better part of ``batch``."""
    stacked = mapped(_OPS[len(arguments)], info.batch_size, in_dims, arguments)
    return stacked, tuple([0] * len(s) if isinstance(s, list) else 0 for s in stacked)


def _checked(overload: Any, derivative: Any, context: Any) -> Any:
    """The kernel of an op above its devices: what ``torch.library.register_autograd`` makes, which alone
    would drop a tangent without a word. Below it, none is seen."""
    kernel = make_autograd_impl(overload, Info(derivative, context))
    names = [a.name for a in overload._schema.arguments]

    def checked(keys: Any, *arguments: Any) -> Any:
        if differentiated():
            check_tangents(names, arguments)
        return kernel(keys, *arguments)

    return checked


_OPS = {6: op.attention, 11: op.attention_backward}
torch.library.register_vmap("flashgen::attention", _over_batch, lib=op.library)
torch.library.register_vmap("flashgen::attention_backward", _over_batch, lib=op.library)
for _name, _derivative, _context in (
    ("attention", backward, setup_context),
    ("attention_backward", _twice, _save_nothing),
):
    _overload = getattr(torch.ops.flashgen, _name).default
    op.library.impl(_name, _checked(_overload, _derivative, _context), "Autograd", with_keyset=True)
    op.library.impl(_name, batched(_overload), "Batched")
