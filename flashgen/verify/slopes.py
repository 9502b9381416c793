"""Derivatives of a score at every pair, by torch's autograd, and how far rounding may carry them.

The second comes from evaluating the derivative again with every operation off by what it may be off, in a
few patterns of signs. A kink (``max``, ``abs``) within reach of a pair's rounding so shows as what it is:
either side's derivative is right there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeAlias

import torch
from torch import Tensor

from flashgen.expr.nodes import Expr, Read, Var

from .pairs import Pairs

#: What a derivative is taken with respect to: the variable ``s`` or one read of an input.
Leaf: TypeAlias = Var | Read


@dataclass(frozen=True)
class Rounding:
    """By how much operations may be off: ``s`` absolutely (over pairs), every other result relatively;
    those of tanh and its like are also off by ``relative`` absolutely and by ``bounded`` relatively."""

    s: Tensor | float
    relative: float
    bounded: float


@dataclass(frozen=True)
class Slope:
    """d score / d leaf at every pair, and by how much rounding may move it; both are 0 at pairs through
    which no gradient flows."""

    value: Tensor
    error: Tensor


#: Signs of the errors of one operation after the other.
_PATTERNS = ((1,), (-1,), (1, -1), (-1, 1))


def slopes(pairs: Pairs, e: Expr, targets: Collection[str], live: Tensor, off: Rounding) -> dict[Leaf, Slope]:
    """The slopes of ``e`` in ``s`` and in every read of an input that ``targets`` names."""
    exact = _derivatives(_Sloped(pairs, targets, Rounding(0.0, 0.0, 0.0), (1,)), e, live)
    error = {n: off.relative * x.abs() for n, x in exact.items()}
    for signs in _PATTERNS:
        for n, x in _derivatives(_Sloped(pairs, targets, off, signs), e, live).items():
            error[n] = torch.maximum(error[n], (x - exact[n]).abs())
    return {n: Slope(x, error[n]) for n, x in exact.items()}


def spread(pairs: Pairs, read: Read, amount: Tensor) -> Tensor:
    """The sum of ``amount`` over all pairs, each added to the input's element that the pair reads."""
    other = _Sloped(pairs, (), Rounding(0.0, 0.0, 0.0), (1,))
    source = pairs.inputs[read.name].detach().clone().requires_grad_()
    other.inputs = {**pairs.inputs, read.name: source}
    with torch.enable_grad():
        found = other.value(read)
    if not found.requires_grad:  # the input has no elements
        return torch.zeros_like(source)
    return torch.autograd.grad(found, source, amount.to(found))[0]


def _derivatives(pairs: _Sloped, e: Expr, live: Tensor) -> dict[Leaf, Tensor]:
    with torch.enable_grad():
        found = pairs.score(e)
        leaves = list(pairs.leaves.values())
        if not found.requires_grad:
            return {n: torch.zeros_like(x) for n, x in pairs.leaves.items()}
        grads = torch.autograd.grad(found, leaves, live.to(found), allow_unused=True, materialize_grads=True)
    return {n: torch.where(live, g, 0) for n, g in zip(pairs.leaves, grads, strict=True)}


class _Sloped(Pairs):
    """Evaluates with operations a little off, and keeps the leaves it meets to differentiate by them."""

    def __init__(self, pairs: Pairs, targets: Collection[str], off: Rounding, signs: Sequence[int]) -> None:
        self.__dict__.update(vars(pairs))
        self.live = None  # the caller chooses the pairs
        self.targets, self.off, self.signs = targets, off, cycle(signs)
        self.leaves: dict[Leaf, Tensor] = {}

    def _leaf(self, n: Leaf, value: Any) -> Any:
        if n.type != "float" or (isinstance(n, Read) and n.name not in self.targets):
            return value
        moved = value.detach().expand(self.shape)
        if isinstance(n, Var):
            moved = moved + next(self.signs) * self.off.s
        self.leaves[n] = moved.clone().requires_grad_()
        return self.leaves[n]

    def _called(self, op: str, args: list[Any]) -> Any:
        sign = next(self.signs)
        if op in _DERIVATIVES and isinstance(args[0], Tensor):
            relative, absolute = sign * self.off.bounded, sign * self.off.relative
            return _FromResult.apply(args[0], op, relative, absolute)  # type: ignore[no-untyped-call]
        value = super()._called(op, args)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value * (1 + sign * self.off.relative)


_DERIVATIVES = {"tanh": lambda y: 1 - y * y, "sigmoid": lambda y: y * (1 - y)}


class _FromResult(torch.autograd.Function):
    """A function whose derivative kernels make from its result, with whatever error that has."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, op: str, relative: float, absolute: float) -> Tensor:
        y = getattr(torch, op)(x)
        y = y * (1 + relative) + absolute * torch.where(y < 0, -1.0, 1.0)  # never against each other
        ctx.op = op
        ctx.save_for_backward(y)
        return y  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        return grad[0] * _DERIVATIVES[ctx.op](*ctx.saved_tensors), None, None, None
