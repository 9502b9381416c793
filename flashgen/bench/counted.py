"""``python -m flashgen.bench.counted``: launches each kernel of the suite ``counters`` once between the marks
that Nsight Compute counts between. It prints a line of JSON for each: its label and the plan it ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashgen.driver import lower_spec
from flashgen.ir.workload import Workload
from flashgen.spec.model import AttentionSpec

from .cases import Shape, spec_of, table

if TYPE_CHECKING:
    from flashgen.tune.timing import Stage


@dataclass(frozen=True)
class Counted:
    """Kernel number ``kernel`` of ``spec``'s program by ``schedule`` at ``work``."""

    spec: AttentionSpec
    schedule: str
    kernel: int
    work: Workload

    @property
    def label(self) -> str:
        """How it is called in tables."""
        w = self.work
        name = lower_spec(self.spec, self.schedule).program.kernels[self.kernel].name
        return f"{name} D={self.spec.d_qk} {Shape(w.B, w.Hq, w.Hkv, w.Nq)}"


def counted() -> Iterator[Counted]:
    """The kernels of the suite."""
    for row in table()["counters"]:
        s = Shape(**row["shape"])
        spec = spec_of(row["spec"], row.get("set"))
        yield Counted(spec, row["schedule"], row["kernel"], Workload(s.B, s.Hq, s.Hkv, s.N, s.N))


def launch(on: Stage, kernel: int) -> None:
    """One launch between the marks."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()  # type: ignore[no-untyped-call]
    on.launch(kernel)
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()  # type: ignore[no-untyped-call]


def main() -> None:
    """Launch them all, in order."""
    import torch

    from flashgen.tune.search import stage

    for c in counted():
        on = stage(c.spec, c.schedule, c.work, torch.bfloat16)
        launch(on, c.kernel)
        print(json.dumps({"label": c.label, "plan": on.plan.to_json()}), flush=True)
        del on
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
