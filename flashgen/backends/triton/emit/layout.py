"""How printed lines are laid out: indentation, notes, and where a long one is broken.

Texts go through here unread: only brackets, commas and spaced operators matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDTH = 100


@dataclass(frozen=True)
class Line:
    """One printed line at an indentation."""

    text: str
    note: str = ""
    depth: int = 0
    gap: bool = False  # an empty line before


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
