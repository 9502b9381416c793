"""The numbers that schedules put into kernels, and what they are: for whoever reads a generated kernel."""

from __future__ import annotations

import math

from flashgen.expr.terms import LN_2, LOG2_E
from flashgen.ir.attention import AttentionIR
from flashgen.ir.philox import quantised, threshold


def numbers(ir: AttentionIR) -> tuple[tuple[float | int, str], ...]:
    """Numbers that may stand in the kernels of ``ir``, each with its meaning."""
    root = f"1 / sqrt({ir.d_qk})"
    scale = f"scale = {root}" if math.isclose(ir.scale, ir.d_qk**-0.5) else "scale"
    found: list[tuple[float | int, str]] = []
    if ir.scale != 1.0:
        found += [
            (ir.scale, scale),
            (ir.scale * LOG2_E, "scale * log2(e), as exponentials are taken in base 2"),
        ]
    found += [(LOG2_E, "log2(e)"), (LN_2, "ln(2)")]
    if ir.dropout:
        found += [
            (
                threshold(ir.dropout),
                "dropout in units of 2**-16: of a pair's 16 random bits, smaller ones drop it",
            ),
            (1.0 / (1.0 - quantised(ir.dropout)), f"1 / (1 - p) with p = {threshold(ir.dropout)} / 2**16"),
        ]
    return tuple(found)
