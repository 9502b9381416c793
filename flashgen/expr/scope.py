"""What the names of an expression mean: variables, inputs, constants and library functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .library import LIBRARY, Function
from .nodes import Type


@dataclass(frozen=True)
class InputType:
    """A named input tensor as expressions see it: so many indices, one element type."""

    rank: int
    type: Type


@dataclass(frozen=True)
class Scope:
    """The names an expression may use. No name may be in two of the mappings."""

    variables: Mapping[str, Type] = field(default_factory=dict)
    inputs: Mapping[str, InputType] = field(default_factory=dict)
    constants: Mapping[str, bool | int | float] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=lambda: LIBRARY)


#: One line each: the documentation's table of variables.
VARIABLES: dict[str, tuple[Type, str]] = {
    "s": ("float", "the scaled score, `scale * dot(q, k)` (scores only)"),
    "b": ("int", "batch"),
    "h": ("int", "query head"),
    "hkv": ("int", "key and value head, `h // (Hq // Hkv)`"),
    "q": ("int", "row number of the query"),
    "k": ("int", "row number of the key"),
    "qpos": ("int", "the query's position, `q + Nk - Nq`: the last query stands at the last key"),
    "Nq": ("int", "number of queries"),
    "Nk": ("int", "number of keys"),
}

SCORE_SCOPE = Scope({name: t for name, (t, _) in VARIABLES.items()})
MASK_SCOPE = Scope({name: t for name, (t, _) in VARIABLES.items() if name != "s"})
SINK_SCOPE = Scope({name: t for name, (t, _) in VARIABLES.items() if name not in ("s", "k")})
