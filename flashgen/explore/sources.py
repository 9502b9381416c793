"""The generated source of every candidate that the page can show, lines that repeat stored once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flashgen.driver import Lowered, emit_source
from flashgen.plan.plan import Plan
from flashgen.targets.target import Target

from .rows import Row

Cell = tuple[int, ...]


def cell_of(row: Row) -> Cell:
    """The cell of the heat map that a candidate stands in: its tile sides."""
    return tuple(n for _, n in sorted(row.plan.sides))


def shown(rows: Sequence[Row], srams: Iterable[int], target: Target) -> list[int]:
    """Numbers of the rows that may be the best of their cell at one of these sizes of SRAM.

    That is the best of those tried at first, and every bettered one that beats it: whether the planner
    gets to making those depends on the rest of its list.
    """
    found: set[int] = set()
    for sram in srams:
        times = {i: t for i, row in enumerate(rows) if (t := row.time(sram, target)) is not None}
        best: dict[Cell, int] = {}
        for i in sorted(times, key=lambda i: times[i].promise):
            if rows[i].tried:
                best.setdefault(cell_of(rows[i]), i)
        found |= set(best.values())
        bettered = [i for i in times if not rows[i].tried]
        found |= {i for i in bettered if times[i].promise < times[best[cell_of(rows[i])]].promise}
    return sorted(found)


@dataclass
class Sources:
    """Texts as numbers of lines; ``lines`` holds each different line once."""

    lines: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> list[int]:
        """The numbers of the lines of ``text``."""
        out = []
        for line in text.rstrip("\n").split("\n"):
            if line not in self.numbers:
                self.numbers[line] = len(self.lines)
                self.lines.append(line)
            out.append(self.numbers[line])
        return out


def emitted(lowered: Lowered, plan: Plan, kernel: int, row: Row) -> str:
    """The module with kernel number ``kernel`` as ``row`` has it, the others as ``plan`` does."""
    kernels = (*plan.kernels[:kernel], row.plan, *plan.kernels[kernel + 1 :])
    return emit_source(lowered, replace(plan, kernels=kernels)).text
