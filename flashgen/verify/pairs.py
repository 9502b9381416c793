"""Values of a spec's expressions at every (b, h, q, k), for the oracle: dense, on torch tensors, and
differentiable by torch's autograd. Of flashgen it uses the operator table and nothing of the lowering.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flashgen.expr.build import real_products
from flashgen.expr.evaluate import steps
from flashgen.expr.nodes import Call, Const, Expr, Read, Var, real, rewrite, walk
from flashgen.expr.ops import OPS
from flashgen.expr.reach import LARGE

#: Functions computed with an absolute, not only a relative, error of about one ulp of 1.
BOUNDED = frozenset(("tanh", "sigmoid", "sin", "cos"))
_STEP = 2.0**-20


class Pairs:
    """Evaluates expressions at every (b, h, q, k) of the dense score tensor ``s`` (B, Hq, Nq, Nk).

    ``live`` (B, Hq, Nq, Nk) keeps gradients from flowing into ``s`` and inputs at other pairs, whatever
    infinities stand there.
    """

    def __init__(
        self,
        s: Tensor,
        group: int,
        inputs: Mapping[str, Tensor],
        dtype: torch.dtype,
        live: Tensor | None = None,
    ) -> None:
        self.shape, self.dtype, self.device, self.live = s.shape, dtype, s.device, live
        self.inputs = {name: _taken(x, dtype) for name, x in inputs.items()}
        index = [
            torch.arange(n, device=s.device).view([-1 if i == axis else 1 for i in range(4)])
            for axis, n in enumerate(s.shape)
        ]
        b, h, q, k = index
        n_q, n_k = s.shape[2:]
        self.values: dict[str, Any] = {"s": self._gated(s), "b": b, "h": h, "hkv": h // group, "q": q, "k": k}
        self.values |= {"qpos": q + (n_k - n_q), "Nq": n_q, "Nk": n_k}

    def value(self, e: Expr) -> Tensor:
        """``e`` at every pair, broadcast to (B, Hq, Nq, Nk)."""
        slots: list[Any] = []
        for step in steps(real_products(e)):
            n = step.node
            args = [slots[i] for i in step.args]
            if isinstance(n, Const):
                found: Any = n.value
            elif isinstance(n, Call):
                found = self._called(n.op, args)
            elif isinstance(n, Read):
                found = self._leaf(n, self._read(n, args))
            else:
                found = self._leaf(n, self.values[n.name])
            slots.append(found)
            for i in step.done:
                slots[i] = None
        return torch.as_tensor(slots[-1], device=self.device).expand(self.shape)

    def score(self, e: Expr) -> Tensor:
        """A float expression at every pair."""
        return self.value(e).to(self.dtype)

    def mask(self, e: Expr | None) -> Tensor:
        """A mask at every pair; no mask sees everything."""
        if e is None:
            return torch.ones(self.shape, dtype=torch.bool, device=self.device)
        return self.value(e).bool()

    def rows(self, live: Tensor | None = None) -> Pairs:
        """The same for expressions over (b, h, q), of the shape (B, Hq, Nq, 1)."""
        one = torch.zeros((*self.shape[:3], 1), dtype=self.dtype, device=self.device)
        rows = Pairs(one, 1, self.inputs, self.dtype, live)
        rows.values |= {name: self.values[name] for name in ("hkv", "qpos", "Nk")}
        return rows

    def _leaf(self, n: Var | Read, value: Any) -> Any:
        """What stands for a variable or a read in the expression around it."""
        return value

    def _called(self, op: str, args: list[Any]) -> Any:
        tensors = [a for a in args if isinstance(a, Tensor)]
        if not tensors:
            return OPS[op].python(*args)
        if op == "float":
            return args[0].to(self.dtype)
        if op == "where" and not isinstance(args[0], Tensor):
            return args[1] if args[0] else args[2]
        if op == "where" and isinstance(args[1], float) and isinstance(args[2], float):
            # Of two numbers torch makes its default float dtype, which may be narrower.
            args[1] = torch.full((), args[1], dtype=self.dtype, device=self.device)
        return OPS[op].torch(torch, *args)

    def _read(self, read: Read, index: list[Any]) -> Tensor:
        """An input's elements; a read outside of it gives 0."""
        source = self.inputs[read.name]
        where = [torch.as_tensor(i, device=self.device).long() for i in index]
        if 0 in source.shape:
            return torch.zeros((), dtype=source.dtype, device=self.device)
        inside = torch.ones((), dtype=torch.bool, device=self.device)
        for i, n in zip(where, source.shape, strict=True):
            inside = inside & (i >= 0) & (i < n)
        found = source[tuple(i.clamp(0, n - 1) for i, n in zip(where, source.shape, strict=True))]
        return self._gated(torch.where(inside, found, torch.zeros_like(found)))

    def _gated(self, x: Tensor) -> Tensor:
        return x if self.live is None or not x.requires_grad else torch.where(self.live, x, x.detach())


def _taken(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input as expressions see it: floats in ``dtype``, ints as they are; the spec says that 64 bits hold
    what is made of 32."""
    if x.dtype == torch.bool:
        return x
    return x.to(dtype) if x.is_floating_point() else x.long()


def condition(e: Expr, score: Tensor, ulps: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """By how many u a logit moves if every operation behind it is off by u (finite differences), and if
    the ``BOUNDED`` functions are.

    ``ulps`` is that number for ``s`` itself: the sum of the magnitudes of the products in the dot.
    """
    total, bounded = torch.zeros_like(score), torch.zeros_like(score)

    def slope(node: Expr, off: Expr) -> Tensor:
        return ((pairs.score(_moved(e, node, off)) - score) / _STEP).abs().nan_to_num(0, 0, 0)

    for node in dict.fromkeys(walk(e)):
        if node.type != "float" or not isinstance(node, Call | Var):
            continue
        if isinstance(node, Var):
            total += slope(node, Call("add", (node, real(_STEP)), "float")) * ulps
            continue
        off = Call("mul", (node, real(1 + _STEP)), "float")
        total += slope(node, off) * ~_exact(node, pairs)
        if node.op in BOUNDED:
            bounded += slope(node, off)
            total += slope(node, Call("add", (node, real(_STEP)), "float"))
    return total, bounded


def _exact(node: Call, pairs: Pairs) -> Tensor:
    """Where a large result needs no rounding: fp32 holds what arithmetic makes of exact arguments. Small ones
    may be multiplied by log2(e) first; so large, they are not."""
    value = pairs.score(node)
    if node.op not in ("add", "sub", "mul", "neg", "min", "max", "where"):
        return torch.zeros_like(value, dtype=torch.bool)
    return (value.abs() > LARGE) & (value.float().to(value) == value)


def _moved(e: Expr, node: Expr, new: Expr) -> Expr:
    return rewrite(e, lambda n: new if n == node else None)
