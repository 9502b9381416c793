"""What the interpreter counts in its checking mode: bytes, operations, and how much is on chip at once.

Everything is counted from what happens: elements that guards let through, operands that are multiplied,
values that are exponentiated, and tiles from the statement that makes them to the last that reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flashgen.ir.program import Tile


@dataclass
class Traffic:
    """Bytes requested of HBM by tensor name, FLOPs of dots on whole tiles, exponentials (``Op.exponentials``)
    on whole tiles, and the most bytes of tiles that one program held at once."""

    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    flops: int = 0
    exponentials: int = 0
    on_chip: int = 0


@dataclass(eq=False)
class Life:
    """A tile from the step that makes it to the last that reads it. ``heir_of`` are operands that it may
    have been written over, if they were read for the last time there."""

    tile: Tile
    size: int
    first: int
    last: int
    heir_of: tuple[Life, ...] = ()


class Chip(dict[str, Any]):
    """What programs hold on chip, by name; notes when each tile is made and read."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.now = 0
        self.lives: list[Life] = []
        self._current: dict[str, Life] = {}
        self._operands: list[Life] = []

    def step(self) -> None:
        """The next statement begins."""
        self.now += 1
        self._operands = []

    def __getitem__(self, name: str) -> Any:
        life = self._current.get(name)
        if life is not None:
            life.last = self.now
            self._operands.append(life)
        return super().__getitem__(name)

    def make(self, tile: Tile, size: int, in_place: bool) -> None:
        """``tile`` of ``size`` bytes is made by this statement, which may work ``in_place``."""
        alike = [x for x in self._operands if (x.tile.axes, x.tile.dtype) == (tile.axes, tile.dtype)]
        alike.sort(key=lambda x: x.tile.name != tile.name)
        life = Life(tile, size, self.now, self.now, tuple(alike) if in_place else ())
        self._current[tile.name] = life
        self.lives.append(life)

    def most(self) -> int:
        """The most bytes alive at one step."""
        change: Counter[int] = Counter()
        ends = {id(x): x.last for x in self.lives}
        for x in self.lives:
            replaced = next((y for y in x.heir_of if y.last == x.first), None)
            if replaced is not None:
                ends[id(replaced)] = x.first - 1
        for x in self.lives:
            change[x.first] += x.size
            change[ends[id(x)] + 1] -= x.size
        alive = most = 0
        for at in sorted(change):
            alive += change[at]
            most = max(most, alive)
        return most
