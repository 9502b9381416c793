"""Lines of generated code: what they define, which are needed, and how they are broken.

A backend's text goes through here unread: only brackets, commas and spaced operators matter.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flashgen.ir import names

WIDTH = 100
WORDS = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Line:
    """One logical line at an indentation. ``defines`` a name if it is an assignment without effects."""

    text: str
    defines: str | None = None
    note: str = ""
    depth: int = 0
    gap: bool = False  # an empty line before

    @property
    def uses(self) -> set[str]:
        """The names on the right of an assignment, or all names of the line."""
        text = self.text.split("=", 1)[1] if self.defines else self.text
        return set(WORDS.findall(text))


def settled(lines: list[Line], also: Sequence[str] = ()) -> tuple[list[Line], dict[str, str]]:
    """``lines`` with final names (``ir/names``), and those names; ``also`` are names beside them."""
    words = [*also, *(w for line in lines for w in WORDS.findall(line.text))]
    table = names.settle(words, keyword.kwlist)

    def final(line: Line) -> Line:
        defines = None if line.defines is None else names.renamed(line.defines, table)
        return replace(
            line, text=names.renamed(line.text, table), defines=defines, note=names.plain(line.note)
        )

    return [final(line) for line in lines], table


def indented(lines: list[Line]) -> list[Line]:
    """``lines`` one level deeper."""
    return [replace(line, depth=line.depth + 1) for line in lines]


def needed(lines: list[Line]) -> list[Line]:
    """``lines`` without assignments whose value nothing uses: liveness, backwards through loops."""
    return _live(lines, set())[0]


def _live(lines: list[Line], after: set[str]) -> tuple[list[Line], set[str]]:
    """(what is kept of ``lines``, the names they need) when the names ``after`` are used later on."""
    kept: list[Line] = []
    live = set(after)
    end = len(lines)
    while end:
        start = end - 1
        while lines[start].depth > lines[0].depth:  # the body of a loop, whose head stands before it
            start -= 1
        head, body = lines[start], lines[start + 1 : end]
        end = start
        if body:
            needs, inside = set[str](), body
            while True:  # what a pass needs, the pass before must leave
                inside, more = _live(body, live | needs)
                if more <= live | needs:
                    break
                needs |= more
            if inside:  # a loop of nothing is no statement
                kept = [head, *inside, *kept]
                live |= needs | head.uses
        elif head.defines is None:
            kept = [head, *kept]
            live |= head.uses
        elif head.defines in live:
            kept = [head, *kept]
            live = (live - {head.defines}) | head.uses
    return kept, live


def render(lines: list[Line], indent: int = 1) -> str:
    """Text of ``lines``; a note is a comment above its line, not repeated on neighbours."""
    out: list[str] = []
    last_note = ""
    for i, line in enumerate(lines):
        pad = "    " * (indent + line.depth)
        if i and (line.gap or line.depth < lines[i - 1].depth):
            out.append("")
        if line.note and line.note != last_note:
            out.extend(f"{pad}# {part}" for part in fold(line.note, WIDTH - len(pad) - 2))
        last_note = line.note
        out.extend(broken(line.text, len(pad)))
    return "\n".join(out)


def fold(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` where it has spaces."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def broken(text: str, indent: int) -> list[str]:
    """A statement in lines of at most ``WIDTH``, broken at its outermost brackets, one item a line."""
    pad = " " * indent
    if indent + len(text) <= WIDTH:
        return [pad + text]
    name, equals, value = text.partition(" = ")
    if equals and len(_operators(value)) > 1:
        return [f"{pad}{name} = (", *_expression(value, indent + 4), f"{pad})"]
    return _bracketed(text, indent)


def _bracketed(text: str, indent: int) -> list[str]:
    """``text`` with its longest pair of outer brackets opened."""
    pad = " " * indent
    span = _longest(text)
    if span is None:
        return [pad + text]
    start, end = span
    body, tail = text[start + 1 : end], text[end:]
    return [pad + text[: start + 1], *_expression(body, indent + 4), *broken(tail, indent)]


def _expression(text: str, indent: int) -> list[str]:
    """What stands between brackets: on one line, or split at its commas, or at its operators."""
    if indent + len(text) <= WIDTH:
        return [" " * indent + text]
    parts = _split(text, ",")
    if len(parts) > 1:
        return [line for p in parts for line in _with_comma(_expression(p.strip(), indent))]
    terms = _operators(text)
    if len(terms) > 1:
        return [line for t in terms for line in _expression(t, indent)]
    return _bracketed(text, indent)


def _with_comma(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1] + ","]


def _depths(text: str) -> list[int]:
    """The bracket depth before each character (an opening bracket is outside, a closing one inside); what
    stands in quotes counts as deeper, so that no line breaks there."""
    out, depth, quoted = [], 0, False
    for c in text:
        quoted ^= c == '"'
        if c in ")]" and not quoted:
            depth -= 1
        out.append(depth + quoted)
        if c in "([" and not quoted:
            depth += 1
    return out


def _longest(text: str) -> tuple[int, int] | None:
    depths, spans, opened = _depths(text), [], -1
    for i, c in enumerate(text):
        if depths[i] == 0 and c in "([":
            opened = i
        elif depths[i] == 0 and c in ")]" and opened >= 0:
            spans.append((opened, i))
    spans = [s for s in spans if s[1] - s[0] > 8]
    return max(spans, key=lambda s: s[1] - s[0]) if spans else None


def _split(text: str, separator: str) -> list[str]:
    depths, out, start = _depths(text), [], 0
    for i, c in enumerate(text):
        if c == separator and depths[i] == 0:
            out.append(text[start:i])
            start = i + 1
    rest = text[start:]
    return [*out, rest] if rest.strip() else out


def _operators(text: str) -> list[str]:
    """``a + b - c`` as ``a``, ``+ b``, ``- c``, at the outermost, loosest-binding operators."""
    depths = _depths(text)
    for operators in ("|", "&", "+-", "*/"):
        cuts = [
            m.start() + 1
            for m in re.finditer(r" (\||&|\+|-|\*|//|/) ", text)
            if depths[m.start()] == 0 and m[1][0] in operators
        ]
        if cuts:
            return [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [text]
