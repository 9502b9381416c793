"""``flashgen bench``: choose the cases, measure, report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from flashgen.errors import FlashgenError
from flashgen.plan.plan import Plan

from . import accuracy, cases, choice, counters, figure2, host, models, training, unseen
from .cases import Case
from .contenders import PEERS
from .report import Report
from .suites import Session, timed

#: Columns of the tables where the output is no terminal.
WIDTH = 140
#: Suites of one call, of gradients, and of a whole model.
SUITES = (
    *("forward", "variants", "short", "host", "errors"),
    *("backward", "backward-variants", "dropout", "figure2"),
    *models.names(),
    *("choice", "choice-backward", "counters", "unseen"),
)
#: How a suite is measured: those with cases to choose from (``timed`` where nothing is said), those without.
RUNS: dict[str, Callable[[list[Case], Session], None]] = {
    "short": partial(timed, by_graph=True),
    "errors": accuracy.run,
    "backward": training.run,
    "backward-variants": training.run,
    "dropout": training.run,
    "figure2": figure2.run,
}
WHOLE: dict[str, Callable[[Session], None]] = {
    "host": host.run,
    "choice": partial(choice.run, "choice"),
    "choice-backward": partial(choice.run, "choice-backward"),
    "counters": counters.run,
    "unseen": unseen.run,
    **{m: partial(models.run, m) for m in models.names()},
}


@dataclass(frozen=True)
class Choice:
    """Which cases to measure; an empty tuple is "all". ``seqlens`` narrows the suites of ``cases.GRIDS`` and
    those of the model's choice."""

    suites: tuple[str, ...] = SUITES
    head_dims: tuple[int, ...] = ()
    seqlens: tuple[int, ...] = ()
    specs: tuple[str, ...] = ()

    def of(self, suite: str, tiny: bool) -> list[Case]:
        """The chosen cases of a suite. A dry run has its own length."""
        every = cases.grid(suite, tiny) if suite in cases.GRIDS else cases.listed(suite, tiny)
        return [
            c
            for c in every
            if (not self.head_dims or c.spec.d_qk in self.head_dims)
            and (tiny or suite not in cases.GRIDS or not self.seqlens or c.shape.N in self.seqlens)
            and (not self.specs or c.spec_name in self.specs)
        ]


def bench(
    choice: Choice,
    *,
    peers: Sequence[str] = PEERS,
    rounds: int = 15,
    seconds: float = 540.0,
    check: bool = True,
    dry_run: bool = False,
    out: Path | None = None,
    console: Console | None = None,
    beside: Path | None = None,
    top: int | None = None,
) -> Report:
    """Measure ``choice``, print the tables, write files into ``out``, and return the report.

    No new case starts once ``seconds`` have passed. ``dry_run`` takes tiny shapes on the CPU backend, so
    that the script itself can be tested. ``beside``: the ``choices.json`` of another run, whose plans are
    timed beside the model's choices, with ``top`` candidates each. Raises ``FlashgenError`` without a CUDA
    device, or for a suite or peer that does not exist.
    """
    for word, known in [(s, SUITES) for s in choice.suites] + [(p, PEERS) for p in peers]:
        if word not in known:
            raise FlashgenError(f"{word!r} is none of {', '.join(known)}")
    if not dry_run and not torch.cuda.is_available():
        raise FlashgenError("timings need a CUDA device, and torch finds none; --dry-run tests the script")
    console = console or Console(width=None if sys.stdout.isatty() else WIDTH)
    start = time.monotonic()
    report = Report(dry=dry_run)
    session = Session(
        device="cpu" if dry_run else "cuda",
        rounds=1 if dry_run else rounds,
        peers=tuple(peers),
        deadline=start + seconds,
        check=check,
        report=report,
        save=lambda: out and report.write(out),
        specs=choice.specs,
        seqlens=choice.seqlens,
        beside=_plans(beside) if beside else {},
        top=top,
        say=lambda text: console.print(f"[dim]{time.monotonic() - start:6.1f}s[/] {text}", highlight=False),
    )
    for suite in choice.suites:
        if suite in WHOLE:
            WHOLE[suite](session)
        else:
            RUNS.get(suite, timed)(choice.of(suite, dry_run), session)
    report.show(console)
    if out is not None:
        for path in report.write(out):
            console.print(f"wrote {path}", highlight=False)
    return report


def _plans(path: Path) -> dict[str, Plan]:
    """Plans by suite and pair. Raises ``FlashgenError`` for a file of anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: Plan.from_json(json.dumps(plan)) for name, plan in found.items()}
    except (OSError, ValueError, AttributeError, FlashgenError) as e:
        raise FlashgenError(f"{path} holds no plans of a bench: {e}") from e
