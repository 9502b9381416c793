"""Between which numbers an int expression lies, whatever the call: the proof rules of 32 bits.

An extent is (lowest, highest), both numbers. A value whose extent fits 32 bits is computed there, any other
in 64, in kernels, and a spec is refused where 64 bits might not hold it. So nothing ever wraps, and what is
rearranged by the rules of integers (``algebra``, ``interval``) stays equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

from .lengths import LENGTHS, SIDES
from .limits import MOST_LENGTH, MOST_SHIFT, MOST_SIDE
from .nodes import Call, Const, Expr, Var, children, variables

Extent: TypeAlias = tuple[int, int]
Rule: TypeAlias = Callable[..., Extent]

INT32: Extent = (-(2**31), 2**31 - 1)
INT64: Extent = (-(2**63), 2**63 - 1)
BIT: Extent = (0, 1)
_LENGTH: Extent = (0, MOST_LENGTH)
_ELEMENT: Extent = (-1, MOST_LENGTH + MOST_SIDE)
#: Variables that are in every program. Rows of a tile pass the length, and an empty one ends at -1.
NAMES: Mapping[str, Extent] = {
    **dict.fromkeys((*LENGTHS, *"b h hkv q_tile k_tile j".split()), _LENGTH),
    **dict.fromkeys("q k".split(), (0, MOST_LENGTH + MOST_SIDE)),
    **dict.fromkeys("q_lo q_hi k_lo k_hi".split(), _ELEMENT),
    **dict.fromkeys(SIDES, (16, MOST_SIDE)),
    "qpos": (-MOST_LENGTH, 2 * MOST_LENGTH),
}
#: Of no expression of a user. A product with one of them numbers the rows or the programs of a launch.
_COUNTED = frozenset(("B", "Hq", "Hkv", *SIDES))
_COUNT: Extent = (0, 2**30)


def within(a: Extent, b: Extent) -> bool:
    """Whether every number of ``a`` is one of ``b``."""
    return b[0] <= a[0] and a[1] <= b[1]


def hull(*parts: Extent) -> Extent:
    """The least extent that holds ``parts``."""
    return min(p[0] for p in parts), max(p[1] for p in parts)


def _corners(f: Callable[[int, int], int], a: Extent, b: Extent) -> Extent:
    ends = [f(x, y) for x, y in product(a, b)]
    return min(ends), max(ends)


def add(a: Extent, b: Extent) -> Extent:
    return a[0] + b[0], a[1] + b[1]


def sub(a: Extent, b: Extent) -> Extent:
    return a[0] - b[1], a[1] - b[0]


def neg(a: Extent) -> Extent:
    return -a[1], -a[0]


def mul(a: Extent, b: Extent) -> Extent:
    return _corners(lambda x, y: x * y, a, b)


def minimum(a: Extent, b: Extent) -> Extent:
    return min(a[0], b[0]), min(a[1], b[1])


def maximum(a: Extent, b: Extent) -> Extent:
    return max(a[0], b[0]), max(a[1], b[1])


def absolute(a: Extent) -> Extent:
    return max(a[0], -a[1], 0), max(a[1], -a[0])


def where(condition: Extent, a: Extent, b: Extent) -> Extent:
    return hull(a, b)


def floordiv(a: Extent, b: Extent) -> Extent:
    divisors = [(lo, hi) for lo, hi in ((b[0], min(b[1], -1)), (max(b[0], 1), b[1])) if lo <= hi]
    quotients = [_corners(lambda x, y: x // y, a, d) for d in divisors]
    return hull(*quotients, *([(0, 0)] if b[0] <= 0 <= b[1] else []))


def cdiv(a: Extent, b: Extent) -> Extent:
    return neg(floordiv(neg(a), b))


def mod(a: Extent, b: Extent) -> Extent:
    low, high = min(0, b[0] + 1), max(0, b[1] - 1)
    if b[0] > 0 and a[0] >= 0:
        return 0, min(high, a[1])
    return low, high


def bits(*parts: Extent) -> Extent:
    """What needs no more bits than ``parts`` or 32: any bitwise operation."""
    size = max(32, *(1 + max(p[1], -p[0] - 1).bit_length() for p in parts))
    return -(2 ** (size - 1)), 2 ** (size - 1) - 1


def shift_left(a: Extent, n: Extent) -> Extent:
    """Other counts than 0 … MOST_SHIFT give 0."""
    count = max(0, min(n[0], MOST_SHIFT)), max(0, min(n[1], MOST_SHIFT))
    return hull((0, 0), _corners(lambda x, c: x << c, a, count))


@dataclass(frozen=True)
class Known:
    """Extents of variables. Of one that is not among them nothing is known but ``otherwise``."""

    names: Mapping[str, Extent] = field(default_factory=lambda: NAMES)
    otherwise: Extent = INT32

    def extent(self, e: Expr) -> Extent:
        """Between which numbers the int ``e`` lies, a condition being 0 or 1; a read is any 32-bit number."""
        return self._measure(e, [])

    def knowing(self, name: str, *values: Expr) -> Known:
        """The same, and that ``name`` is the int ``values``, or between some of them. A variable of the
        language keeps its own extent: each is checked or follows from what is."""
        own = NAMES.get(name) or hull(*map(self.extent, values))
        return Known({**self.names, name: own}, self.otherwise)

    def leaving(self, e: Expr, limit: Extent) -> list[Expr]:
        """What in ``e`` leaves ``limit``, by itself or on the way to it; inner parts first."""
        found: list[tuple[Expr, Extent]] = []
        self._measure(e, found)
        return [n for n, way in found if not within(way, limit)]

    def on_the_way(self, e: Call) -> Extent:
        """What holds the int arguments of ``e``, its value, and what is computed in between; 0 of no ints."""
        return _on_the_way(e, [self.extent(a) for a in e.args], self.extent(e))

    def _measure(self, e: Expr, found: list[tuple[Expr, Extent]]) -> Extent:
        """The extent of ``e``; ``found`` gets each call in it with what is on its way."""
        parts = [self._measure(c, found) for c in children(e)]
        if not isinstance(e, Call):
            return self._leaf(e)
        own = BIT
        if e.type == "int":
            own = self._called(e, parts)
        found.append((e, _on_the_way(e, parts, own)))
        return own

    def _leaf(self, e: Expr) -> Extent:
        if isinstance(e, Const) and e.type == "int":
            return int(e.value), int(e.value)
        return self.names.get(e.name, self.otherwise) if isinstance(e, Var) and e.type == "int" else INT32

    def _called(self, e: Call, parts: list[Extent]) -> Extent:
        from .ops import OPS

        if any(a.type == "float" for a in e.args):
            return INT32  # floor holds to it
        if e.op == "mul" and variables(e) & _COUNTED:
            return _COUNT
        return (OPS[e.op].extent or bits)(*parts)


def _on_the_way(e: Call, parts: list[Extent], own: Extent) -> Extent:
    ints = [p for a, p in zip(e.args, parts, strict=True) if a.type == "int"]
    if e.type == "int":
        ints.append(own)
    if e.op not in ("floordiv", "mod", "cdiv"):
        return hull(*ints) if ints else (0, 0)
    a, b = parts
    most = max(abs(b[0]), abs(b[1]))
    fixed = b[0] == b[1] > 0
    if e.op == "cdiv":  # (a + b - 1) // b
        ints.append(add(a, (0, most)))
    if (a[0] < 0 or b[0] < 0) and not (fixed and e.op == "floordiv"):  # rounding down, of truncated ones
        ints.append((-2 * most + 1, 2 * most - 1))
        if not fixed:
            ints.append((a[0] - most, a[1] + most))
    return hull(*ints)


#: What is known in every program.
LANGUAGE = Known()
