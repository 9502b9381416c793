"""What turns scores into weights, row by row: a file for each row function, ``function.py`` says what all
have.

Schedules speak to a row function and name nothing of it, so that one algorithm serves all of them. What a
spec may ask of each stands in ``spec/weights.py``; the oracle has a meaning of its own for each.
"""

from __future__ import annotations

from flashgen.errors import PlanError
from flashgen.ir.attention import AttentionIR

from .function import RowFunction
from .sigmoid import Sigmoid
from .softmax import Softmax

__all__ = ["ROWS", "RowFunction", "row_function", "softmax_of"]

#: The row functions, by the names that specs call them.
ROWS: dict[str, type[RowFunction]] = {"softmax": Softmax, "sigmoid": Sigmoid}


def row_function(ir: AttentionIR) -> RowFunction:
    """That of ``ir``."""
    return ROWS[ir.row](ir)


def softmax_of(ir: AttentionIR, schedule: str) -> Softmax:
    """That of ``ir`` for a schedule of softmax alone. Raises ``PlanError`` for another."""
    found = row_function(ir)
    if not isinstance(found, Softmax):
        raise PlanError(
            f"{schedule} is an algorithm of softmax, and {ir.name} has `row: {ir.row}`: flash2 takes any row "
            "function"
        )
    return found
