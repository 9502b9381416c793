"""Tables for people that lose nothing: side by side where all of it fits, in parts, or a block for each row.

Every table that a command prints is a ``Grid``. A number is never cut nor folded, words are parted at spaces
only. What is too wide is printed in parts, one below the other, that repeat the columns which name a row; in
a narrow terminal each row becomes lines ``name: value``. ``rich`` renders it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

#: What stands in a cell; plain text, or text with a style.
Cell: TypeAlias = str | Text
#: Columns between two columns.
GAP = 2
#: The narrowest terminal in which a table is parted.
PARTED = 72
#: A column of words is worth standing in if so much of it fits; in a narrower terminal, where a block has
#: more room for it, if so much does.
COMFORT, NARROW_COMFORT = 18, 36
#: Columns that the values of a block keep, beside its names; with fewer they begin further to the left.
VALUES, HANG = 24, 4


@dataclass(frozen=True)
class Grid:
    """``heads`` names the columns, none where all are empty; ``rows`` hold a cell for each, or fewer.

    ``words``: columns that may go on in a second line, as the first may; all others are numbers, set to the
    right. ``keys``: columns that name a row, beside the first. ``shared``: so many first cells are left out
    where they repeat those above.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[str] = frozenset()
    title: str = ""
    note: str = ""
    keys: frozenset[str] = frozenset()
    shared: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [[_text(c) for c in row] + [Text()] * (len(self.heads) - len(row)) for row in self.rows]
        parts = self._parts(rows, options.max_width)
        if self.title:
            yield _whole(Text(self.title, style="italic"), options.max_width)
        if not parts:
            yield from self._blocks(rows, options.max_width)
        for number, widths in enumerate(parts):
            yield from [_line("")] * (number > 0)
            yield from self._table(rows, widths, number > 0)
        if self.note:
            yield _whole(Text(self.note, style="dim"), options.max_width)

    def _parts(self, rows: Sequence[Sequence[Text]], width: int) -> list[dict[int, int]]:
        """The columns of each part with their widths, in ``width``; none where something would be cut."""
        keys = self._keys()
        everything = list(range(len(self.heads)))
        if whole := self._widths(rows, everything, width):
            return [whole]
        parts: list[dict[int, int]] = []
        shown: list[int] = []
        left = everything if width >= PARTED else []
        while left:
            # As many of the columns that are left as fit beside the keys.
            tries = (sorted({*keys, *left[:n]}) for n in range(len(left), 0, -1))
            found = next(
                (w for t in tries if not set(t) <= keys and (w := self._widths(rows, t, width))), None
            )
            if found is None:
                return []
            parts.append(found)
            shown += found
            left = [i for i in left if i not in shown]
        return parts

    def _widths(
        self, rows: Sequence[Sequence[Text]], columns: Sequence[int], width: int
    ) -> dict[int, int] | None:
        """The widths of ``columns`` within ``width``; None where something would have to be cut."""
        whole, least = {}, {}
        comfort = COMFORT if width >= PARTED else NARROW_COMFORT
        for i in columns:
            head, cells = Text(self.heads[i]), [row[i] for row in rows]
            whole[i] = max(t.cell_len for t in (head, *cells))
            if self._wraps(i):
                most = max((t.cell_len for t in cells), default=0)
                least[i] = max(min(most, comfort), *map(_longest, (head, *cells)))
            else:  # a heading of several words may stand in several lines
                least[i] = max([_longest(head), *(t.cell_len for t in cells)])
        left = width - sum(least.values()) - GAP * (len(columns) - 1)
        if left < 0:
            return None
        while left and (short := [i for i in columns if least[i] < whole[i]]):
            for i in short[:left]:
                least[i] += 1
            left -= len(short[:left])
        return least

    def _keys(self) -> set[int]:
        return {i for i, h in enumerate(self.heads) if i == 0 or h in self.keys}

    def _wraps(self, column: int) -> bool:
        return column == 0 or self.heads[column] in self.words

    def _table(
        self, rows: Sequence[Sequence[Text]], widths: Mapping[int, int], later: bool
    ) -> Iterator[Text]:
        """One part of the table; ``later`` ones leave out rows of which they say nothing."""
        if any(self.heads):
            yield from self._row([Text(h, style="bold") for h in self.heads], widths)
            yield _line("─" * (sum(widths.values()) + GAP * (len(widths) - 1)))
        rest = set(widths) - self._keys() if later else {0}
        above: Sequence[Text] = ()
        for row in rows:
            shown = list(row)
            for i in range(self.shared if above else 0):
                if row[i].plain != above[i].plain:
                    break
                shown[i] = Text()
            above = row
            if 0 in rest or any(row[i].plain for i in rest):
                yield from self._row(shown, widths)

    def _row(self, cells: Sequence[Text], widths: Mapping[int, int]) -> Iterator[Text]:
        """One row, in as many lines as its longest cell takes."""
        parts = {i: _wrapped(cells[i], width) for i, width in widths.items()}
        for at in range(max(map(len, parts.values()))):
            line = Text()
            for number, (i, part) in enumerate(parts.items()):
                piece = part[at] if at < len(part) else Text()
                space = Text(" " * (widths[i] - piece.cell_len))
                line.append(" " * GAP if number else "")
                line.append_text(piece + space if self._wraps(i) else space + piece)
            yield _line(line)

    def _blocks(self, rows: Sequence[Sequence[Text]], width: int) -> Iterator[Text]:
        names = max(len(h) for h in self.heads) + 2
        indent = names if width - names >= VALUES else HANG
        for number, row in enumerate(rows):
            if number:
                yield _line("")
            for i, (head, cell) in enumerate(zip(self.heads, row, strict=True)):
                if not cell.plain:
                    continue
                if i == 0 and not head:
                    yield _whole(Text.assemble(cell, style="bold"), width)
                    continue
                label = f"{head}:" if head else ""
                pad = " " * (indent - len(label)) if len(label) < indent else " "
                first, *rest = _wrapped(cell, width - max(indent, len(label + pad)))
                yield _line(Text.assemble((label, "bold"), pad, first))
                for part in rest:
                    yield _line(Text(" " * indent) + part)


def grid(
    heads: Sequence[str], rows: Sequence[Sequence[Cell]], words: Sequence[str] = (), title: str = "",
    note: str = "", keys: Sequence[str] = (), shared: int = 0,
) -> Grid:  # fmt: skip
    """A ``Grid`` of any sequences."""
    cells = tuple(tuple(row) for row in rows)
    return Grid(tuple(heads), cells, frozenset(words), title, note, frozenset(keys), shared)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _longest(text: Text) -> int:
    """Columns that the longest word of ``text`` takes."""
    return max((Text(word).cell_len for word in text.plain.split()), default=0)


def _wrapped(text: Text, width: int) -> list[Text]:
    """``text`` in lines of at most ``width`` columns; a longer word stands whole."""
    lines = text.wrap(Console(), max(width, _longest(text), 1), justify="left")
    for line in lines:
        line.rstrip()
    return list(lines) or [Text()]


def _whole(text: Text, width: int) -> Text:
    return _line(Text("\n").join(_wrapped(text, width)))


def _line(text: Cell) -> Text:
    """A line that nobody wraps or cuts any more."""
    line = _text(text)
    line.rstrip()
    line.no_wrap, line.overflow = True, "ignore"
    return line


@dataclass(frozen=True)
class Prose:
    """Words that are parted at spaces only: a formula longer than a line stands whole."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _whole(self.text, options.max_width)
