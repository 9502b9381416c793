"""What is known of a kernel's names while it is lowered: tiles, intervals, where they were defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flashgen.expr import algebra as al
from flashgen.expr.extent import Known
from flashgen.expr.interval import Interval, interval
from flashgen.expr.nodes import Expr, Var, integer, substitute, variables
from flashgen.ir.program import Kernel, Tile

ZERO = integer(0)


@dataclass
class Facts:
    """Grows as statements are lowered; a loop's own names are dropped when it ends (``copy``).

    ``known`` holds intervals, ``starts`` the first element number of each ``Coords`` tile, ``in_loop``
    the scalars defined inside a loop, ``extents`` the numbers between which ints lie.
    """

    tiles: dict[str, Tile] = field(default_factory=dict)
    known: dict[str, Interval] = field(default_factory=dict)
    starts: dict[str, Expr] = field(default_factory=dict)
    in_loop: set[str] = field(default_factory=set)
    extents: Known = field(default_factory=Known)

    @classmethod
    def of(cls, kernel: Kernel) -> Facts:
        """What the grid says: each axis runs over [0, extent)."""
        facts = cls()
        for axis in kernel.grid:
            facts.known[axis.name] = (ZERO, al.sub(axis.extent, integer(1)))
        facts.known["hkv"] = (ZERO, al.sub(Var("Hkv", "int"), integer(1)))
        return facts

    def copy(self) -> Facts:
        """The facts at the start of a loop's body."""
        return Facts(
            dict(self.tiles),
            dict(self.known),
            dict(self.starts),
            set(self.in_loop),
            self.extents,
        )

    def define(self, name: str, value: Expr) -> None:
        """``name = value``, elementwise or one number: keep what is known of an int."""
        if value.type == "int":
            low, high = self.interval(value)
            self.known[name] = (ZERO if self.non_negative(value) else low, high)
            self.extents = self.extents.knowing(name, value)

    def interval(self, e: Expr) -> Interval:
        """The interval of ``e`` under everything known; a loop's scalars stand for nothing outside."""
        return interval(e, self.known)

    def non_negative(self, e: Expr) -> bool:
        """Whether e >= 0 is proven."""
        if al.non_negative(e):
            return True
        low = self.interval(e)[0]
        return low is not None and al.non_negative(low)

    def is_tile(self, e: Expr) -> bool:
        """Whether ``e`` differs within a program."""
        return any(self.tiles[v].axes for v in variables(e) if v in self.tiles)

    def axes(self, e: Expr) -> set[str]:
        """The axes along which ``e`` varies."""
        return {a for v in variables(e) if v in self.tiles for a in self.tiles[v].axes}


def literal(e: Expr, sides: Mapping[str, int]) -> int | None:
    """The number that a size is once the plan's sides are known."""
    return al.constant(al.simplify(substitute(e, {n: integer(v) for n, v in sides.items()})))
