"""Values of expressions: on torch tensors (the CPU backend and the oracle) and on plain numbers.

An expression is flattened once into steps, equal subexpressions one step, and each value is dropped
after its last use; the steps are kept for the next call. What involves no tensor is computed on Python
numbers, so a tensor's dtype is never promoted by a literal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .nodes import Call, Const, Expr, Read, Var, children
from .ops import OPS, Op

if TYPE_CHECKING:
    import torch

Number: TypeAlias = bool | int | float
Value: TypeAlias = "torch.Tensor | Number"


@dataclass(frozen=True, slots=True)
class _Step:
    """One node: slots of its arguments, and which of them nobody needs afterwards.

    ``spare`` are positions of arguments whose tensor may take the result.
    """

    node: Expr
    op: Op | None
    args: tuple[int, ...]
    done: tuple[int, ...]
    spare: tuple[int, ...]


_CACHE: dict[int, tuple[Expr, tuple[_Step, ...]]] = {}
_CACHE_LIMIT = 4096


def steps(e: Expr) -> tuple[_Step, ...]:
    """``e`` in order of evaluation. Keyed by identity: hashing a tree costs more than walking it."""
    kept = _CACHE.get(id(e))
    if kept is not None:
        return kept[1]  # the entry holds ``e``, so its id is not taken by another
    slots: dict[tuple[str, ...], int] = {}
    flat: list[tuple[Expr, tuple[int, ...]]] = []

    def visit(n: Expr) -> int:
        args = tuple(visit(c) for c in children(n))
        # Not the node itself: ``0.0 == -0.0`` and ``1 == True``.
        own = repr(n.value) if isinstance(n, Const) else n.op if isinstance(n, Call) else n.name
        key = (type(n).__name__, n.type, own, *map(str, args))
        if key not in slots:
            flat.append((n, args))
            slots[key] = len(flat) - 1
        return slots[key]

    visit(e)
    last = {slot: i for i, (_, args) in enumerate(flat) for slot in args}
    out = tuple(_step(n, args, {s for s in args if last[s] == i}) for i, (n, args) in enumerate(flat))
    if len(_CACHE) >= _CACHE_LIMIT:
        _CACHE.clear()
    _CACHE[id(e)] = (e, out)
    return out


def _step(n: Expr, args: tuple[int, ...], done: set[int]) -> _Step:
    op = OPS[n.op] if isinstance(n, Call) else None
    into = op is not None and (op.out is not None or op.name == "where") and n.type == "float"
    floats = [i for i, c in enumerate(children(n)) if c.type == "float"] if into else []
    return _Step(n, op, args, tuple(done), tuple(i for i in floats if args[i] in done))


def evaluate_torch(
    e: Expr,
    values: Mapping[str, Value],
    reads: Callable[[Read, tuple[Value, ...]], Value],
    float_dtype: torch.dtype,
    scratch: Collection[str] = (),
    seen: Callable[[Op, Value], None] | None = None,
) -> Value:
    """``e`` with variables from ``values``; tensors broadcast as in torch.

    ``reads(node, index)`` gives an input's elements. Float tensors of another dtype are converted to
    ``float_dtype`` on entry, ints as they are needed. ``scratch`` names variables whose float tensors
    (dense, used nowhere else) may be overwritten. ``seen`` is told each operator's result. The result is
    a Python number when no tensor is involved, and may be a variable's own tensor.
    """
    import torch

    slots: list[Any] = []
    ours: list[bool] = []  # whether a slot's tensor was made here, and so may be overwritten
    for step in steps(e):
        n = step.node
        if isinstance(n, Const):
            value: Any = n.value
            own = False
        elif step.op is not None:
            args = [slots[i] for i in step.args]
            spare = [i for i in step.spare if ours[step.args[i]]] if step.spare else None
            target = _target(args, spare, float_dtype) if spare else None
            value = _call(torch, step.op, args, target, float_dtype)
            if seen is not None:
                seen(step.op, value)
            own = value is target or all(value is not a for a in args)
            if not own:  # an argument passed through: its own slot shares the tensor from here on
                for i in step.args:
                    ours[i] = ours[i] and slots[i] is not value
            for i in step.done:
                slots[i] = None
        else:
            if isinstance(n, Read):
                given: Any = reads(n, tuple(slots[i] for i in step.args))
            else:
                assert isinstance(n, Var)
                given = values[n.name]
            value = given
            if isinstance(given, torch.Tensor):
                if n.type == "float":
                    value = given.to(float_dtype)
                elif n.type == "int" and isinstance(n, Read):
                    value = given.to(torch.int64)
            own = value is not given or (isinstance(n, Var) and n.name in scratch)
        slots.append(value)
        ours.append(own)
    return slots[-1]  # type: ignore[no-any-return]


def _target(args: list[Any], spare: list[int], float_dtype: torch.dtype) -> Any:
    """An argument that can hold the result: tensors stay in cache, and no memory is asked for. None where
    autograd is to see the operation."""
    if any(getattr(a, "requires_grad", False) for a in args):
        return None
    for i in spare:
        t = args[i]
        if isinstance(t, (bool, int, float)) or t.dtype != float_dtype:
            continue
        shape = t.shape
        others = [a.shape for j, a in enumerate(args) if j != i and not isinstance(a, (bool, int, float))]
        if all(o == shape or _fits(o, shape) for o in others):
            return t
    return None


def _fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether ``small`` broadcasts to ``large`` itself."""
    pairs = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(s in (1, n) for s, n in pairs)


def _call(torch: Any, op: Op, args: list[Any], target: Any, float_dtype: torch.dtype) -> Any:
    for a in args:
        if isinstance(a, torch.Tensor):
            break
    else:
        return op.python(*args)
    if op.name == "float":
        return args[0].to(float_dtype)
    if op.name == "where":
        return _where(torch, args, target, float_dtype)
    if target is None or op.out is None:
        return op.torch(torch, *args)
    if not all(isinstance(a, torch.Tensor) for a in args):
        return _with_number(torch, op, args, target)
    return getattr(torch, op.out)(*args, out=target)


def _with_number(torch: Any, op: Op, args: list[Any], target: Any) -> Any:
    a, b = args
    if op.name in ("add", "mul"):
        return getattr(torch, op.name)(target, a if b is target else b, out=target)
    if op.name in ("sub", "div") and a is target:
        return getattr(torch, op.name)(target, b, out=target)
    if op.name == "sub":
        return torch.neg(target, out=target).add_(a)
    return op.torch(torch, a, b)


def _where(torch: Any, args: list[Any], target: Any, float_dtype: torch.dtype) -> Any:
    condition, a, b = args
    if not isinstance(condition, torch.Tensor):
        return a if condition else b
    if target is a and isinstance(b, float):
        return a.masked_fill_(~condition, b)
    if target is b and isinstance(a, float):
        return b.masked_fill_(condition, a)
    if isinstance(a, float) and isinstance(b, float):
        # Of two numbers torch makes its default float dtype, which may be narrower.
        a = torch.full((), a, dtype=float_dtype, device=condition.device)
    return torch.where(condition, a, b)


def evaluate_python(
    e: Expr,
    values: Mapping[str, Number],
    reads: Callable[[Read, tuple[Number, ...]], Number] | None = None,
) -> Number:
    """``e`` on plain numbers: the meaning that every other form is tested against."""
    if isinstance(e, Const):
        return e.value
    if isinstance(e, Var):
        return values[e.name]
    args = tuple(evaluate_python(c, values, reads) for c in children(e))
    if isinstance(e, Read):
        if reads is None:
            raise KeyError(e.name)
        return reads(e, args)
    return OPS[e.op].python(*args)  # type: ignore[no-any-return]
