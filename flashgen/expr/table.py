"""The language as Markdown tables, generated from the operator table and the library."""

from __future__ import annotations

from collections.abc import Iterable

from .cursor import MAX_DEPTH, MAX_NODES
from .library import LIBRARY
from .ops import OPS, Op
from .parse import MAX_POWER
from .scope import VARIABLES
from .tokens import MAX_CHARACTERS

_TAKES = {"num": "numbers", "int": "integers", "float": "numbers", "bool": "conditions"}
_GIVES = {"same": "integer or float", "int": "integer", "float": "float", "bool": "condition"}


_READS = """\
An input is read by index, as in `slopes[h]`; a constant of the spec is used by its name. Literals are `12`,
`0.5`, `1e-3`, `inf`, `True` and `False`."""
_PRECEDENCE = """\
**Operators and functions.** Precedence is Python's, from the loosest: comparisons, then `|`, `&`, `+ -`,
`* / // %`, `- ~`, `**`; so comparisons beside `&` and `|` stand in parentheses. Comparisons chain:
`0 <= k <= q`. Integers become floats where they meet floats."""
_LIMITS = f"""\
An expression has at most {MAX_CHARACTERS} characters; with powers and library functions written out, at
most {MAX_NODES} parts, nested {MAX_DEPTH} deep. Integer literals are below 2^31."""


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join([_row(*head), _row(*("---",) * len(head)), *(_row(*r) for r in rows)])


def _operator(op: Op) -> tuple[str, ...]:
    usage = {"neg": "-x", "not": "~a"}.get(op.name, op.usage)
    takes = " and ".join(dict.fromkeys(_TAKES[t] for t in op.takes))
    return f"`{usage}`", op.doc, takes, _GIVES[op.result]


def expressions_table() -> str:
    """Variables, operators and functions, and the library, as three Markdown tables."""
    variables = [(f"`{name}`", t, doc) for name, (t, doc) in VARIABLES.items()]
    operators = [_operator(op) for op in OPS.values() if op.public or op.name in ("neg", "not")]
    power = f"a power, `n` a literal 0 … {MAX_POWER}, written out as products"
    operators.append(("`x ** n`", power, _TAKES["num"], _GIVES["same"]))
    library = [(f"`{f.signature}`", f"`{f.body}`", f.doc, f.source) for f in LIBRARY.values()]
    parts = (
        "**Variables**",
        _table(("name", "type", "meaning"), variables),
        _READS,
        _PRECEDENCE,
        _table(("written", "meaning", "takes", "gives"), operators),
        "**Library**, written in the language itself",
        _table(("written", "stands for", "meaning", "source"), library),
        _LIMITS,
    )
    return "\n\n".join(parts)
