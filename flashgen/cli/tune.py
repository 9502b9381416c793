"""``flashgen tune``: the fastest plan for a spec at a shape, found by measuring on this GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashgen.errors import PlanError
from flashgen.grid import Grid, grid

from .console import bar, out, wide
from .files import writable
from .given import Backward, Batch, Heads, Seqlen, SeqlenQ, Spec, workload

if TYPE_CHECKING:
    from flashgen.tune.search import Ranking

#: Candidates of a kernel that are shown.
SHOWN = 6


def command(
    spec: Spec,
    seqlen: Seqlen = 8192,
    seqlen_q: SeqlenQ = None,
    batch: Batch = 4,
    heads: Heads = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="fp16, bf16 or fp32.")] = None,
    backward: Backward = False,
    top: Annotated[
        int, typer.Option(min=0, help="Candidates a kernel, most promising first; 0: all that fit.")
    ] = 48,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that compile; default: cores.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the plan, to be committed; default: the cache's."),
    ] = None,
) -> None:
    """Compile the promising candidates, time each, and remember the fastest for this GPU.

    Calls of sizes within a factor of two use it from then on; of a plan in a folder of your own once
    FLASHGEN_TUNED names that folder.
    """
    import torch

    from flashgen.runtime.tuned import VARIABLE, own_folder
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find
    from flashgen.tune.search import tune
    from flashgen.tune.timings import remember
    from flashgen.verify.case import DTYPES

    known = load_spec(find(spec))
    if not torch.cuda.is_available():
        raise PlanError("tune measures on a GPU, and torch finds none; `flashgen explain` predicts without")
    able = [d for d in known.dtypes if d != "fp64"]
    if dtype is not None and dtype not in able:
        raise PlanError(f"{known.name} is declared for {', '.join(able)}, not for {dtype}")
    work = workload(known, seqlen, seqlen_q, batch, heads)
    writable(None if folder is None else folder / "tuned.json")
    schedule = "backward" if backward else "flash2"
    with bar() as tell:
        tuned, rankings = tune(known, schedule, work, DTYPES[dtype or able[0]], top or None, jobs, tell)
    for r in rankings:
        wide(candidates_table(r))
        for plan, why in r.failed:
            out().print(f"  {plan}: {why}", markup=False, highlight=False)
    before, after = sum(tuned.untuned_us), sum(tuned.plan.measured_us)
    path = tuned.write(folder or own_folder())
    remember(tuned.file_name, rankings)
    out().print(f"{before:,.1f} us untuned, {after:,.1f} us tuned ({before / after:.3f} x), {tuned.device}")
    used = "" if folder is None else f"; {VARIABLE}={folder} makes calls use it"
    out().print(f"wrote {path}{used}", markup=False, soft_wrap=True)


def candidates_table(r: Ranking) -> Grid:
    """The fastest candidates of a kernel, and what the model had chosen."""
    rows = []
    shown = [*r.timed[:SHOWN], *([] if r.chosen in r.timed[:SHOWN] else [r.chosen])]
    for t in shown:
        m = t.compiled
        rows.append((
            f"{t.plan}{' (untuned choice)' if t.plan == r.chosen.plan else ''}", f"{t.measured_us:,.1f}",
            f"{t.measured_us / r.timed[0].measured_us:.3f}", f"{t.predicted_us:,.1f}", str(m.registers),
            str(m.spill_bytes), f"{m.smem_bytes:,}",
        ))  # fmt: skip
    heads = ("plan", "us", "of the fastest", "predicted us", "registers", "spilled B", "shared B")
    return grid(heads, rows, title=f"{r.kernel}: {len(r.timed)} candidates timed")
