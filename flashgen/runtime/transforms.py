"""Attention under the transforms of torch.func: ``vmap``, ``grad``, ``jacrev`` and their compositions.

torch takes the derivative of a custom op through ``torch.func`` only where it is written as an
``autograd.Function``, so a call on tensors seen through a transform goes by these two. Each is one of the
ops, level by level. Forward mode and a second derivative are refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashgen.errors import TensorError

from . import op
from .autocast import cast
from .autograd import second_derivative
from .check import check_learned, no_tangent
from .mapped import mapped
from .signature import signature


def attention(
    q: Tensor, k: Tensor, v: Tensor, inputs: list[Tensor], spec: str, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``op.attention`` of tensors that a transform wraps."""
    # Here, as the derivative is that of the op for the tensors that it is given.
    q, k, v = cast(spec, q, k, v)
    out, lse, *_ = _Attention.apply(spec, seed, q, k, v, *inputs)  # type: ignore[no-untyped-call]
    return out, lse


class _Transformed(torch.autograd.Function):
    """What both directions share: vmap is one call for each entry, and there is no forward mode."""

    @classmethod
    def over_batch(cls, info: Any, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        """One call for each entry of the mapped dim, results stacked."""
        stacked = mapped(cls.apply, info.batch_size, in_dims, arguments)
        return stacked, (0,) * len(stacked)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise no_tangent("the gradient")


class _Attention(_Transformed):
    @staticmethod
    def forward(spec: str, seed: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        q, k, v, *inputs = tensors
        out, lse, rest = op.attention(q, k, v, inputs, spec, seed)
        return (out, lse, *rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        spec, seed, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.spec, ctx.seeded = spec, seed is not None
        ctx.save_for_backward(*tensors, *output, *([seed] if seed is not None else []))

    @staticmethod
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None, *_rest: None) -> tuple[Any, ...]:
        sig = signature(ctx.spec)
        # Here, as a level of transforms does not see what the others want.
        check_learned(sig, ctx.needs_input_grad[2:])
        saved = list(ctx.saved_tensors)
        seed = saved.pop() if ctx.seeded else None
        count = 3 + len(sig.inputs)
        tensors, results = saved[:count], saved[count:]
        if dout is None and dlse is None:
            return (None,) * (2 + len(tensors))
        rows = torch.zeros_like(results[0]) if dout is None else dout
        found = _Backward.apply(ctx.spec, seed, rows, dlse, len(results), *results, *tensors)  # type: ignore[no-untyped-call]
        learned = iter(found[3:])
        return (None, None, *found[:3], *(next(learned) if i.grad else None for i in sig.inputs))

    @staticmethod
    def jvp(ctx: Any, _spec: None, _seed: None, *tangents: Tensor | None) -> Any:
        names = ("q", "k", "v", *signature(ctx.spec).names)
        raise no_tangent(next(n for n, t in zip(names, tangents, strict=True) if t is not None))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return _Attention.over_batch(info, in_dims, arguments)


class _Backward(_Transformed):
    @staticmethod
    def forward(
        spec: str,
        seed: Tensor | None,
        dout: Tensor,
        dlse: Tensor | None,
        results: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        (out, lse, *rest), (q, k, v, *inputs) = tensors[:results], tensors[results:]
        dq, dk, dv, learned = op.attention_backward(dout, dlse, q, k, v, inputs, out, lse, rest, spec, seed)
        return (dq, dk, dv, *learned)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise TensorError(second_derivative())

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return _Backward.over_batch(info, in_dims, arguments)
