"""Requested bytes against on-chip memory: tiles as large as M bytes hold, and what then grows fastest.

Of the two tile sides one is the head dim and the other takes the rest of M, as FlashAttention chooses them
(its Algorithm 1: B_c = M / 4d, B_r = min(M / 4d, d)); which is which is tried, and the smaller traffic stays.
Terms are compared where d << d^2 << M << N d: memory holds more than a square tile and less than a head's K.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import sympy

from .closed import DIVIDES, LENGTH, WIDE_KEYS, WIDE_ROWS, Assumption
from .symbolic import symbol
from .symbolic_counts import closed_formulas

if TYPE_CHECKING:
    from .counts import Counts

MEMORY = symbol("M")
_D, _DV, _ELEM, _ACC = (symbol(n) for n in ("d", "d_v", "elem_bytes", "acc_bytes"))
#: Orders of growth: lengths over memory over head dims; what is not here does not grow.
_GROWTH = {symbol("Nq"): 10.0, symbol("Nk"): 10.0, LENGTH: 10.0, MEMORY: 2.5, _D: 1.0, _DV: 1.0}
#: A place of that kind, to choose between two ways to fill memory.
_THERE = {symbol("Nq"): 2**20, symbol("Nk"): 2**20, LENGTH: 2**20, MEMORY: 2**17, _D: 64, _DV: 64,
          _ELEM: 2, _ACC: 4, symbol("B"): 1, symbol("Hq"): 1, symbol("Hkv"): 1}  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """Requested bytes of a kernel whose tiles fill M bytes: its ``sides`` in terms of M, the whole formula,
    and its ``leading`` terms."""

    kernel: str
    sides: tuple[tuple[str, Any], ...]
    requested: Any
    leading: Any
    assuming: tuple[str, ...]

    @property
    def theta(self) -> str:
        """``Theta(N^2 d^2 / M)``: the leading terms without factors that do not grow, lengths being N."""
        return theta(self.leading)


def filled(of: Counts) -> tuple[Filled, ...]:
    """Each kernel with tiles that fill M; those without a closed form are left out."""
    parts = (_kernel(of.of_kernel(of.program.kernels.index(k))) for k in of.kernels)
    return tuple(p for p in parts if p is not None)


def leading(e: Any) -> Any:
    """The terms of ``e`` that grow fastest."""
    found = [(_growth(t), t) for t in sympy.Add.make_args(sympy.expand(e))]
    most = max(g for g, _ in found)
    return sum((t for g, t in found if g == most), sympy.Integer(0))


def theta(e: Any) -> str:
    """The growth of ``e``'s leading terms, in words of N, d and M."""
    same = {symbol("Nq"): LENGTH, symbol("Nk"): LENGTH}
    grown = set()
    for t in sympy.Add.make_args(leading(e)):
        powers = t.subs(same).as_powers_dict()
        grown.add(sympy.Mul(*(base**p for base, p in powers.items() if base in _GROWTH)))
    over, under = [], ""
    for t in sorted(grown, key=str):
        top, bottom = sympy.fraction(t)
        under = f" / {_written(bottom)}" if bottom != 1 else ""
        over.append(_written(top) + under)
    return f"Theta({' + '.join(over)})"


def _written(e: Any) -> str:
    order = (LENGTH, _D, _DV, MEMORY)
    powers = e.as_powers_dict()
    return " ".join(f"{s}^{powers[s]}" if powers[s] != 1 else str(s) for s in order if powers.get(s)) or "1"


def _growth(term: Any) -> float:
    return float(sum(_GROWTH.get(base, 0.0) * power for base, power in term.as_powers_dict().items()))


def _kernel(of: Counts) -> Filled | None:
    tried = (
        _fill(of, "BLOCK_M", "BLOCK_N", (DIVIDES, WIDE_ROWS)),
        _fill(of, "BLOCK_N", "BLOCK_M", (DIVIDES, WIDE_KEYS)),
    )
    found = [f for f in tried if f is not None]
    return min(found, key=lambda f: f.requested.subs(_THERE), default=None)


def _fill(of: Counts, side: str, other: str, assumptions: tuple[Assumption, ...]) -> Filled | None:
    """``side`` takes what M leaves when ``other`` is the head dim."""
    formulas = closed_formulas(of, assumptions)
    if not formulas.assuming:
        return None
    x, at = symbol(side), {symbol(other): _D}
    chip = of.exact.on_chip
    alive = [sympy.expand(a.subs(at)) for a in (chip.args if isinstance(chip, sympy.Max) else (chip,))]
    sizes = [(sympy.Poly(a, x).all_coeffs()) for a in alive]
    lines = [c for c in sizes if len(c) == 2]
    if not lines or any(len(c) > 2 for c in sizes):
        return None
    slope, rest = min(lines, key=lambda c: ((MEMORY - c[1]) / c[0]).subs(_THERE))
    side_of_m = sympy.expand(MEMORY - rest) / sympy.factor_terms(slope)
    requested = formulas.requested.subs(at)
    grown = sympy.expand(requested.subs(x, MEMORY / leading(slope)))
    sides = ((side, side_of_m), (other, _D))
    return Filled(of.kernels[0].name, sides, requested.subs(x, side_of_m), leading(grown), formulas.assuming)


def leading_of(parts: tuple[Filled, ...]) -> Any:
    """The leading terms of kernels together."""
    return leading(reduce(lambda a, b: a + b.leading, parts, sympy.Integer(0)))
