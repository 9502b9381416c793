"""Which names a spec may give: plain identifiers that mean nothing else, a spec's in file names and modules,
an input's in the expression language or in a call. Generated code gives way to inputs (``ir/names``)."""

from __future__ import annotations

import keyword
import re

from flashgen.expr.library import LIBRARY
from flashgen.expr.ops import OPS
from flashgen.expr.scope import SCORE_SCOPE

from .fields import shown

_SPEC_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)
_VALUE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII)

#: Modules and words of generated code, of every operating system's file names, and of a call.
_TAKEN = frozenset(
    "tl triton torch jit range static_range print aux con nul prn com1 lpt1 self return_lse seed training "
    "scale spec forward backward programs head_group shared groups kv_heads entry all dropout_keep "
    "tensordescriptor program_id inf nan true false null yes no on off".split()
)
#: What a call says besides inputs: ``attn(q, k, v, return_lse=True)``.
_CALL = ("self", "q", "k", "v", "return_lse", "seed", "training")
#: What YAML and the language take for a value.
_VALUES = frozenset("inf nan true false null yes no on off".split())


def spec_name_problem(name: str) -> str | None:
    """Why ``name`` cannot name a spec, or None."""
    if not _SPEC_NAME.fullmatch(name):
        return (
            f"a name is a lowercase letter, then letters, digits or _ (48 in all), got {shown(name)}"
            + _suggest(name)
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _TAKEN:
        return f"`{name}` means something in generated code; try `{name}_attention`"
    return None


def value_name_problem(name: str) -> str | None:
    """Why ``name`` cannot name an input or a constant, or None."""
    if not _VALUE_NAME.fullmatch(name):
        return f"a name is a letter, then letters, digits or _ (32 in all, ASCII), got {shown(name)}"
    what = None
    if name in SCORE_SCOPE.variables:
        what = "a variable of the expression language"
    elif name in LIBRARY or (name in OPS and OPS[name].public and not OPS[name].symbol):
        what = "a function of the expression language"
    elif name in OPS:
        what = "the name of an operator of the expression language"
    elif keyword.iskeyword(name) or name.lower() in _VALUES:
        what = "a word of the language"
    elif name in _CALL:
        what = "an argument of the call itself, which inputs stand beside"
    return f"`{name}` is {what}; try `my_{name}`" if what else None


def _suggest(name: str) -> str:
    fixed = re.sub(r"[^a-z0-9_]+", "_", name.lower(), flags=re.ASCII).strip("_")[:48]
    return f"; try `{fixed}`" if _SPEC_NAME.fullmatch(fixed) else ""
