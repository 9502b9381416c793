"""From a call's tensors to its variants, with a stand-in for the compiler: every schedule of a program."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from flashgen.driver import SCHEDULES
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Measured, Plan
from flashgen.runtime.device import known
from flashgen.runtime.launch import Compiled
from flashgen.runtime.layout import results_of
from flashgen.runtime.signature import signature
from flashgen.runtime.variants import Asked, Variants

from .specs import plain

WORK = Workload(2, 4, 2, 300, 300)


def of_a_call(schedule: str, text: str) -> dict[str, torch.Tensor]:
    """Tensors of a call, and its results, none of which hold anything."""
    sig = signature(text)
    q = torch.empty(WORK.B, WORK.Hq, WORK.Nq, 32, dtype=torch.bfloat16)
    k, v = (q.new_empty(WORK.B, WORK.Hkv, WORK.Nk, 32) for _ in range(2))
    rows = torch.empty(WORK.B, WORK.Hq, WORK.Nq)
    every = {"q": q, "k": k, "v": v, "o": q, "do": q, "lse": rows, "dlse": rows}
    given = {n: every[n] for n in sig.given(schedule)}
    made = results_of(sig, schedule, given)
    return given | {
        n: torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        for n, (shape, stride, dtype) in made.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if not s.endswith("_lse")])
def test_a_call_of_every_schedule_has_its_variant(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []

    def compiled(self: Variants, batch: Sequence[tuple[int, Plan]], ask: Asked) -> list[Compiled]:
        asked.append(ask)
        return [Compiled(lambda *_: None, Measured(1024, 64, 0)) for _ in batch]

    monkeypatch.setattr(Variants, "_compiled", compiled)
    text = plain(head_dim=32).canonical_json()
    record, kernels = Variants(text, (), schedule, tuned=False).get(
        of_a_call(schedule, text), WORK, known()["h100"], 0
    )
    assert record.plan.schedule == schedule
    assert len(record.kernels) == len(kernels) == len(record.plan.kernels)
    assert all(ask.described for ask in asked)
