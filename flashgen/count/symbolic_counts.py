"""``Counts`` as sympy expressions: exact with sums over tiles, or closed where sides divide lengths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy

from flashgen.expr.nodes import Const
from flashgen.ir.dtypes import NAMED_BYTES

from .amount import Amount
from .closed import ASSUMPTIONS, DIVIDES, WIDE_KEYS, WIDE_ROWS, Assumption, Undecided, closed, not_negative
from .onchip import live_sets
from .symbolic import exact, symbol, to_sympy
from .walk import head_dims

if TYPE_CHECKING:
    from .counts import Counts


@dataclass(frozen=True, eq=False)
class Formulas:
    """The counts of ``counts`` as expressions; ``assumption`` None is for all lengths and sides.

    Symbols: B, Hq, Hkv, Nq, Nk; d, and d_v where V's head dim differs; BLOCK_M, BLOCK_N; ``elem_bytes`` and
    ``acc_bytes``, the sizes of an element of q and of an accumulator; N for lengths assumed equal.
    """

    counts: Counts
    assumption: Assumption | None = None

    @property
    def assuming(self) -> tuple[str, ...]:
        """What holds where the formulas do, in words."""
        return () if self.assumption is None else self.assumption.said

    def read(self, tensor: str) -> Any:
        """Bytes read of ``tensor``."""
        return self._bytes(a for a in self.counts.amounts if (a.kind, a.tensor) == ("read", tensor))

    def written(self, tensor: str) -> Any:
        """Bytes written to ``tensor``."""
        return self._bytes(a for a in self.counts.amounts if (a.kind, a.tensor) == ("written", tensor))

    @cached_property
    def requested(self) -> Any:
        """Bytes read and written, of all tensors."""
        return self._bytes(a for a in self.counts.amounts if a.tensor)

    @cached_property
    def flops(self) -> Any:
        """FLOPs of the dots."""
        return self._total(a for a in self.counts.amounts if a.kind == "flops")

    @cached_property
    def exponentials(self) -> Any:
        """Exponentials."""
        return self._total(a for a in self.counts.amounts if a.kind == "exponentials")

    @cached_property
    def on_chip(self) -> Any:
        """On-chip bytes of the largest kernel, the papers' M; a ``Max`` where that depends on the sides."""
        heads = head_dims(self.counts.program)
        found: list[Any] = []
        for kernel in self.counts.kernels:
            sizes = {a.name: to_sympy(a.size) for a in kernel.axes}
            for axis in kernel.axes:
                if axis.name in heads and isinstance(axis.size, Const):
                    name, total = heads[axis.name]
                    sizes[axis.name] = sympy.Rational(int(axis.size.value), total) * symbol(name)
            for alive in live_sets(kernel):
                tiles = sorted(alive, key=lambda t: t.name)
                size = sympy.expand(
                    sum(self._item(t.dtype) * sympy.Mul(*(sizes[a] for a in t.axes)) for t in tiles)
                )
                found.append(size)
        found = _largest(found)
        return (
            found[0] if len(found) == 1 else sympy.Max(*found, evaluate=False) if found else sympy.Integer(0)
        )

    def _bytes(self, amounts: Iterable[Amount]) -> Any:
        by_dtype: dict[str, list[Amount]] = {}
        for a in amounts:
            by_dtype.setdefault(self.counts.program.tensor(a.tensor).dtype, []).append(a)
        return sum(
            (self._item(dtype) * self._total(found) for dtype, found in by_dtype.items()), sympy.Integer(0)
        )

    def _total(self, amounts: Iterable[Amount]) -> Any:
        return exact(amounts) if self.assumption is None else closed(amounts, self.assumption)

    def _item(self, dtype: str) -> Any:
        return symbol(f"{dtype}_bytes") if dtype in ("elem", "acc") else sympy.Integer(NAMED_BYTES[dtype])


def _largest(found: list[Any]) -> list[Any]:
    """Those of ``found`` that may be the largest for some sides."""
    unique = list(dict.fromkeys(found))
    samples = [[f.subs(at) for f in unique] for at in _SAMPLES]

    def covered(i: int, j: int) -> bool:
        return all(s[j] >= s[i] for s in samples) and _covers(unique[j], unique[i])

    n = range(len(unique))
    return [unique[i] for i in n if not any(covered(i, j) for j in n if j != i)]


#: Sides and sizes at which a larger formula is larger, to rule out most pairs before proving the others.
_SAMPLES = tuple(
    dict(zip(map(symbol, ("BLOCK_M", "BLOCK_N", "d", "d_v", "elem_bytes", "acc_bytes")), at, strict=True))
    for at in ((16, 512, 1, 1, 2, 4), (512, 16, 7, 1, 4, 4), (16, 16, 512, 64, 2, 4), (64, 64, 64, 512, 8, 8))
)


def _covers(b: Any, a: Any) -> bool:
    """Whether ``b`` is at least ``a`` for all sides, an accumulator being at least as wide as an element."""
    elem, acc = symbol("elem_bytes"), symbol("acc_bytes")
    wider = sympy.Symbol("wider", nonnegative=True, integer=True)
    return not_negative(sympy.expand((b - a).subs(acc, elem + wider)), {})


def closed_formulas(counts: Counts, assumptions: tuple[Assumption, ...] = ASSUMPTIONS) -> Formulas:
    """The formulas under the first assumption that decides every sum; exact ones where none does."""
    for assumption in assumptions:
        found = Formulas(counts, assumption)
        try:
            _ = found.requested, found.flops, found.exponentials
        except Undecided:
            continue
        return found
    return Formulas(counts)


def closed_at(counts: Counts, sides: Mapping[str, int]) -> Formulas:
    """The closed formulas for ``sides``: where one is to divide the other, the smaller divides."""
    wide = WIDE_KEYS if sides.get("BLOCK_N", 0) > sides.get("BLOCK_M", 0) else WIDE_ROWS
    return closed_formulas(counts, (DIVIDES, wide))
