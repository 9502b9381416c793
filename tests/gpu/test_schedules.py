"""The papers' other algorithms on the GPU, forward and backward, against the oracle."""

from __future__ import annotations

import pytest

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, check_gradients

from .helpers import CAUSAL

pytestmark = pytest.mark.gpu
DROPPED = AttentionSpec(name="dropped", head_dim=64, score="softcap(s, 20.0)", dropout=0.1)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("spec", [CAUSAL, DROPPED], ids=lambda s: s.name)
@pytest.mark.parametrize("schedule", ["flash1", "standard"])
def test_other_schedules(schedule: str, spec: AttentionSpec, dtype: str) -> None:
    case = Case(2, 4, 2, 257, 300, dtype, tile=(64, 32), poison=True)
    assert check(spec, case, "cuda", schedule) == []
    assert check_gradients(spec, case, "cuda", f"{schedule}_backward") == []
