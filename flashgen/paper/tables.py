"""What a figure is made of: tables, charts over their columns, words. Plain data, in the units it names.

A number exists once, in its table; the page, the CSV file, the documents and the console show it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: None: there is no such number; a note of the section says why.
Cell: TypeAlias = str | int | float | None
#: How a curve is drawn: the styles of the pages (``templates/page/base.css``).
Style: TypeAlias = Literal["plan", "least", "flash", "standard"]


@dataclass(frozen=True)
class Column:
    """``key`` heads the column in CSV and holds the unit; ``title`` and ``unit`` are for people."""

    key: str
    title: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """``name`` is the CSV file's; a row has a cell for each column."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, key: str) -> list[Cell]:
        """The cells of a column."""
        at = [c.key for c in self.columns].index(key)
        return [row[at] for row in self.rows]

    @property
    def heads(self) -> list[str]:
        """The titles with their units."""
        return [f"{c.title}, {c.unit}" if c.unit else c.title for c in self.columns]

    @property
    def shown(self) -> list[list[str]]:
        """The cells as people read them."""
        return [[show(cell) for cell in row] for row in self.rows]

    def csv(self) -> str:
        """The table as CSV: every digit, nothing where there is no number."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([c.key for c in self.columns])
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return text.getvalue()


@dataclass(frozen=True)
class Line:
    """A curve: points (x, y) of a table, in its units."""

    label: str
    style: Style
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Curves over one pair of logarithmic axes. ``ticks``: numbers of the x axis; none: as they fit."""

    id: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Section:
    """One figure or table of the papers. ``found`` is one sentence for the console, ``notes`` explain."""

    id: str
    title: str
    lead: str
    tables: tuple[Table, ...]
    found: str
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = field(default=())


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of ``text``, which blank lines part, each on one line."""
    return tuple(" ".join(part.split()) for part in text.strip().split("\n\n"))


def line(table: Table, x: str, y: str, label: str, style: Style, of: Cell = None) -> Line:
    """The curve of column ``y`` over column ``x``, in rows whose first cell is ``of`` (None: all rows)."""
    rows = zip(table.column(x), table.column(y), table.rows, strict=True)
    points = [(a, b) for a, b, row in rows if of in (None, row[0])]
    kept = [
        (float(a), float(b)) for a, b in points if isinstance(a, int | float) and isinstance(b, int | float)
    ]
    return Line(label, style, tuple(kept))


def show(cell: Cell) -> str:
    """Three digits that count; whole numbers whole; a dash where there is none."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or cell == 0:
        return f"{cell:,.0f}"
    if abs(cell) < 1e-3:
        return f"{cell:.1e}"
    digits = max(0, 2 - math.floor(math.log10(abs(cell))))
    return f"{cell:,.{digits}f}"


def markdown(table: Table) -> str:
    """The table for a document, its caption before it."""

    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    ruled = ["---", *("---:" for _ in table.columns[1:])]
    return "\n".join([f"{table.caption}\n", row(table.heads), row(ruled), *map(row, table.shown)])
