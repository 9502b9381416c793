"""Which schedules a row function has: some are algorithms of softmax, or take a gradient of ``lse``."""

from __future__ import annotations

from flashgen.driver import SCHEDULES
from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import WEIGHTS

OF_SOFTMAX = {"flash1", "standard", "standard_three_pass"}


def schedules(spec: AttentionSpec) -> list[str]:
    """Those that do not refuse ``spec`` for its row function."""
    if "lse" in WEIGHTS[spec.row].left:
        return list(SCHEDULES)
    return [s for s in SCHEDULES if s not in OF_SOFTMAX and not s.endswith("_lse")]
