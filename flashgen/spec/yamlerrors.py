"""What the YAML library says of a malformed text, said as to someone who writes a spec."""

from __future__ import annotations

import re

#: Patterns of what it says (context, then problem), and what is said instead.
_SAYS = (
    (r"found character '\\t'", "a tab stands where YAML takes spaces: indent with spaces"),
    (r"found character '(.)' that cannot start", r"text that starts with '\1' needs quotes around it"),
    (
        r"scanning a block scalar",
        "`|` and `>` begin a text on the next lines; put what starts with one in quotes",
    ),
    (r"scanning an (alias|anchor)", "text that starts with `*` or `&` needs quotes around it"),
    (r"(sequence entries|mapping keys) are not", "text that starts with `- ` or `? ` needs quotes around it"),
    (
        r"node content, but found '(.)'",
        r"expected a value, found '\1': text that starts with it needs quotes",
    ),
    (
        r"mapping values are not allowed",
        "a second `:` in a field, or a field indented too far: put text that contains `: ` in quotes",
    ),
    (r"scanning a simple key", "a line without a colon: a field is written `name: value`"),
    (r"unknown escape character '(.)'", r"`\\\1` means nothing in double quotes: use single quotes"),
    (r"scanning a quoted scalar", "text in quotes that never ends: its closing quote is missing"),
    (r"flow mapping expected", "expected `,` or `}` in what `{` opened"),
    (r"flow sequence expected", "expected `,` or `]` in what `[` opened"),
    (r"but found '<scalar>'", "text goes on behind a closing quote or bracket: put all of it in quotes"),
    (r"expected <block end>", "expected the next field, indented like those before it"),
)


def explained(context: str, problem: str) -> str:
    """The error that the YAML library describes by ``context`` (what it was doing) and ``problem``."""
    said = f"{context} {problem}".strip()
    for pattern, ours in _SAYS:
        if found := re.search(pattern, said):
            return f"not YAML: {found.expand(ours)}"
    return f"not YAML: {said}"
