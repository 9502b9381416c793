"""Amounts as numbers: the sums over tiles that are left, added up in integers, all tiles at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from flashgen.errors import PlanError
from flashgen.expr.evaluate import evaluate_torch
from flashgen.expr.nodes import Expr, Read

from .amount import Amount, Over, Span

if TYPE_CHECKING:
    import torch

#: An element of an input: ``reads(node, index)``.
Reads: TypeAlias = Callable[[Read, tuple[Any, ...]], Any]
#: The most tiles (or elements, where a guard is looked at element by element) that are added up one by one:
#: about a second and a gigabyte.
POINTS = 1 << 24


class TooManyTiles(PlanError):
    """A sum without a closed form has more than ``POINTS`` terms, or terms past 64 bits."""

    def __init__(self) -> None:
        super().__init__(f"no count: more than {POINTS:,} tiles would have to be added up one by one")


def totals(
    amounts: Iterable[Amount], names: Mapping[str, int], inputs: Mapping[str, torch.Tensor] | None = None
) -> Counter[tuple[str, str]]:
    """Elements (or operations) by (kind, tensor) for lengths and sides ``names``.

    ``inputs`` holds the tensors that bounds and guards read. Without one its elements count as ``Nk``: a
    length as long as it can be. Raises ``TooManyTiles``.
    """
    reads = _reader(inputs or {}, names)
    points: dict[tuple[Over, ...], tuple[dict[str, Any], int]] = {}
    kept: dict[tuple[tuple[Over, ...], tuple[Span, ...], tuple[Expr, ...]], int] = {}
    out: Counter[tuple[str, str]] = Counter()
    for a in amounts:
        times = a.each
        for side in a.sides:
            times *= int(_value(side, names, reads))
        key = (a.over, a.spans, a.tests)
        if key not in kept:
            if a.over not in points:
                points[a.over] = _points(a.over, names, reads)
            kept[key] = _summed(a, *points[a.over], reads)
        out[a.kind, a.tensor] += times * kept[key]
    return out


def _points(over: tuple[Over, ...], names: Mapping[str, int], reads: Reads) -> tuple[dict[str, Any], int]:
    """Every combination of the sums' variables, as columns of numbers, and how many there are."""
    import torch

    env: dict[str, Any] = dict(names)
    number = 1
    columns: list[str] = []
    for o in over:
        lo, hi = (_column(_value(e, env, reads), number) for e in (o.domain.lo, o.domain.hi))
        counts = (hi - lo).clamp(min=0)
        if float(counts.sum(dtype=torch.float64)) > POINTS:
            raise TooManyTiles
        at = torch.repeat_interleave(torch.arange(number), counts)
        first = torch.cumsum(counts, 0) - counts
        for name in columns:
            env[name] = env[name][at]
        number = int(at.numel())
        env[o.var] = torch.arange(number) - first[at] + lo[at]
        columns.append(o.var)
    return env, number


def _summed(a: Amount, env: Mapping[str, Any], number: int, reads: Reads) -> int:
    import torch

    if not number:
        return 0
    times, largest = 1, number  # what is the same at every point stays out of 64 bits
    one = torch.ones(number if a.over else 1, dtype=torch.int64)
    for s in a.spans:
        low = _column(_value(s.lows[0], env, reads), 1)
        for e in s.lows[1:]:
            low = torch.maximum(low, _column(_value(e, env, reads), 1))
        high = _column(_value(s.highs[0], env, reads), 1)
        for e in s.highs[1:]:
            high = torch.minimum(high, _column(_value(e, env, reads), 1))
        span = (high - low).clamp(min=0)
        if span.numel() == 1:
            times *= int(span)
            continue
        largest *= int(span.max())
        if largest >= 1 << 63:
            raise TooManyTiles
        one = one * span
    for t in a.tests:
        one = one * torch.as_tensor(_value(t, env, reads)).to(torch.int64)
    return times * int(one.sum())


def _value(e: Expr, env: Mapping[str, Any], reads: Reads) -> Any:
    import torch

    return evaluate_torch(e, env, reads, torch.float32)


def _column(value: Any, number: int) -> Any:
    import torch

    return torch.as_tensor(value, dtype=torch.int64).reshape(-1).expand(number if number > 1 else -1)


def _reader(inputs: Mapping[str, torch.Tensor], names: Mapping[str, int]) -> Reads:
    import torch

    def read(node: Read, index: tuple[Any, ...]) -> Any:
        if node.name not in inputs:
            return True if node.type == "bool" else names["Nk"]
        source = inputs[node.name]
        if source.numel() == 0:
            return False if node.type == "bool" else 0
        at = [torch.as_tensor(i).clamp(0, n - 1) for i, n in zip(index, source.shape, strict=True)]
        found = source[tuple(at)]
        return found if node.type == "bool" else found.to(torch.int64)

    return read
