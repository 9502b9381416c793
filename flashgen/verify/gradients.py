"""True gradients: torch's autograd through the dense fp64 oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .oracle import oracle

#: ``out`` and ``lse`` of q, k, v and inputs.
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]


def learned(spec: AttentionSpec) -> tuple[str, ...]:
    """The inputs that have gradients, in the spec's order."""
    return tuple(name for name, given in spec.inputs.items() if given.grad)


def gradients_of(
    attend: Attend,
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor],
    dout: Tensor | None,
    dlse: Tensor | None,
) -> dict[str, Tensor]:
    """``dq dk dv`` and ``d<name>`` of learned inputs, by autograd through ``attend``.

    A result that depends on nothing learned has gradient 0.
    """
    leaves = {"q": q, "k": k, "v": v} | {name: inputs[name] for name in learned(spec)}
    leaves = {name: x.detach().requires_grad_() for name, x in leaves.items()}
    with torch.enable_grad():
        rest = {name: leaves.get(name, x) for name, x in inputs.items()}
        results = attend(leaves["q"], leaves["k"], leaves["v"], rest)
        given = [(y, dy) for y, dy in zip(results, (dout, dlse), strict=True) if dy is not None]
        given = [(y, dy) for y, dy in given if y.requires_grad]
        if not given:
            return {"d" + name: torch.zeros_like(x) for name, x in leaves.items()}
        ys, dys = zip(*given, strict=True)
        xs = list(leaves.values())
        found = torch.autograd.grad(ys, xs, dys, allow_unused=True, materialize_grads=True)
    return {"d" + name: x for name, x in zip(leaves, found, strict=True)}


def truth_gradients(
    spec: AttentionSpec,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Mapping[str, Tensor] | None = None,
    dout: Tensor | None = None,
    dlse: Tensor | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """``dq dk dv`` and ``d<name>`` of learned inputs in fp64, of the loss <out, dout> + <lse, dlse>.

    ``dout`` and ``dlse`` have the shapes of the results; None is a result that nothing depends on. Pairs
    that a mask hides and rows that see nothing contribute exactly 0, whatever stands there.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return oracle(spec, q, k, v, inputs, seed=seed)

    wide = {n: x.double() if x.is_floating_point() else x for n, x in (inputs or {}).items()}
    above = (None if x is None else x.double() for x in (dout, dlse))
    return gradients_of(attend, spec, q.double(), k.double(), v.double(), wide, *above)
