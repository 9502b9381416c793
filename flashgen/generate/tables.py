"""Markdown tables of the documents: the expression language, from the operator table and the library, and the
papers' figures (``paper``).

A document holds a table between two markers; ``refresh`` replaces what stands between them.
"""

from __future__ import annotations

import re

from flashgen.expr.library import LIBRARY, Function
from flashgen.expr.ops import OPS, PREFIX, Op
from flashgen.expr.parse import SHORTHANDS
from flashgen.expr.scope import VARIABLES
from flashgen.paper.tables import markdown

_TYPES = {"num": "number", "same": "number"}


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*r) for r in body)])


def written(op: Op) -> str | None:
    """How an operator is written in the language: ``a + b``, ``-x``, ``max(a, b)``; None: it is not."""
    if op.public:
        return op.usage
    return next((f"{sign}x" for sign, rows in PREFIX.items() if op in rows), None)


def operators() -> str:
    """A row per operator and shorthand: how it is written, its types, its meaning."""
    rows = [("written", "takes", "gives", "meaning")]
    for op in OPS.values():
        text = written(op)
        if text:
            takes = ", ".join(dict.fromkeys(_TYPES.get(t, t) for t in op.takes))
            rows.append((f"`{text}`", takes, _TYPES.get(op.result, op.result), op.doc))
    return _table(*rows, *((f"`{written}`", *rest) for written, *rest in SHORTHANDS))


def variables() -> str:
    """A row per variable: its name, type and meaning."""
    rows = ((f"`{name}`", kind, meaning) for name, (kind, meaning) in VARIABLES.items())
    return _table(("variable", "type", "meaning"), *rows)


def library() -> str:
    """A row per library function: how it is called, what it is in the language, its meaning."""

    def row(f: Function) -> tuple[str, ...]:
        body = f.body if len(f.body) <= 60 else "…"
        return f"`{f.signature}`", f"`{body}`", f.doc

    return _table(("written", "stands for", "meaning"), *map(row, LIBRARY.values()))


TABLES = {"variables": variables, "operators": operators, "library": library}


def made(name: str) -> str:
    """The table called ``name``: of the language, or of the papers' figures."""
    if name in TABLES:
        return TABLES[name]()
    from flashgen.paper.main import FIGURES, figure  # torch comes with it

    found = (t for f in FIGURES for t in figure(f).tables if t.name == name)
    return markdown(next(found))


def refresh(text: str) -> str:
    """``text`` with every ``<!-- table: NAME -->`` … ``<!-- end -->`` block made anew."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- table: {name} -->\n{made(name)}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", block, text, flags=re.S)
