"""An op over a mapped dim: one call for each entry, results stacked.

torch has two ways to map. ``torch.func.vmap`` hands a rule the mapped tensors and their dims. The older one,
behind ``torch.autograd.grad(is_grads_batched=True)`` and ``jacobian(vectorize=True)``, calls the kernel of
the dispatch key ``Batched``, which takes the tensors apart itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def mapped(
    call: Callable[..., Any], size: int, dims: Sequence[Any], arguments: Sequence[Any]
) -> tuple[Any, ...]:
    """The results of ``call`` over a mapped dim of ``size``, stacked at dim 0. ``dims`` has for each argument
    its mapped dim or None, for a list of tensors one or a list of them."""
    # Of no entry at all a call of zeros gives the shapes.
    found = [call(*_entry(i, dims, arguments)) for i in range(size)] or [call(*_entry(None, dims, arguments))]

    def stack(part: Sequence[Any]) -> Any:
        if isinstance(part[0], (list, tuple)):
            return [stack(each) for each in zip(*part, strict=True)]
        return torch.stack(list(part))[:size]

    return tuple(stack(part) for part in zip(*found, strict=True))


def _entry(i: int | None, dims: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    def pick(argument: Any, dim: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            each = dim if isinstance(dim, (list, tuple)) else [dim] * len(argument)
            return [pick(a, d) for a, d in zip(argument, each, strict=True)]
        if dim is None or i is not None:
            return argument if dim is None else argument.select(dim, i)
        shape = list(argument.shape)
        del shape[dim]
        return argument.new_zeros(shape)

    return [pick(a, d) for a, d in zip(arguments, dims, strict=True)]


def batched(call: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of an op for the key ``Batched``."""

    def kernel(*arguments: Any) -> Any:
        return _without(_depth(), call, arguments)

    return kernel


def _depth() -> int:
    """How many of the older maps are under way."""
    level = torch._C._vmapmode_increment_nesting()
    torch._C._vmapmode_decrement_nesting()
    return level - 1


def _without(level: int, call: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """``call`` of what the maps up to this level, 1 the outermost, are taken off of."""
    if level == 0:
        return call(*arguments)
    # A tensor that this level does not map comes back with a dim of one entry. One such entry mapped is none.
    bare = [_each(a, lambda t: torch._remove_batch_dim(t, level, 1, 0)) for a in arguments]
    size = next((t.shape[0] for t in _tensors(bare) if t.shape[0] != 1), 1)
    entries = [_each(a, lambda t: t[0] if t.shape[0] == 1 else t) for a in bare]
    dims = [_each(a, lambda t: None if t.shape[0] == 1 else 0, of_others=None) for a in bare]
    if size == 1:
        return _without(level - 1, call, entries)
    found = mapped(lambda *given: _without(level - 1, call, given), size, dims, entries)
    return tuple(_each(part, lambda t: torch._add_batch_dim(t, 0, level)) for part in found)


_SAME = object()


def _each(argument: Any, f: Callable[[Tensor], Any], of_others: Any = _SAME) -> Any:
    """``f`` of a tensor, or of those in a list; what is neither gives ``of_others``, by default itself."""
    if isinstance(argument, (list, tuple)):
        return [_each(a, f, of_others) for a in argument]
    if isinstance(argument, Tensor):
        return f(argument)
    return argument if of_others is _SAME else of_others


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for a in arguments:
        if isinstance(a, Tensor):
            yield a
        elif isinstance(a, (list, tuple)):
            yield from _tensors(a)
