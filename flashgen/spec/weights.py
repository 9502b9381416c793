"""The row functions that a spec may name: what makes weights of a row's scores. ``rows/`` holds their code.

Read without pydantic: a call's signature needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Row: TypeAlias = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Weights:
    """A row function as specs and calls see it.

    ``left``: what a forward leaves of each row beside ``out``, by the names of results. ``saved``: what a
    backward takes of a forward's results. ``sink``: whether a logit without a key has a meaning.
    """

    meaning: str
    left: tuple[str, ...]
    saved: tuple[str, ...]
    sink: bool


WEIGHTS: dict[Row, Weights] = {
    "softmax": Weights("exp(score) over its sum along the row", ("lse",), ("o", "lse"), sink=True),
    "sigmoid": Weights("1 / (1 + exp(-score)), each pair by itself", (), (), sink=False),
}
ROWS: tuple[Row, ...] = get_args(Row)
#: What a spec has that names none.
DEFAULT: Row = "softmax"
