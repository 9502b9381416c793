"""The suite ``figure2``: time and memory of forward + backward at the shape of the FlashAttention paper's
Figure 2, beside standard attention. cuDNN and flex run without dropout, which flex does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from . import contenders
from .cases import Case
from .clock import Run, peak_bytes, rounds
from .contenders import OURS, Data
from .report import Figure
from .suites import Session, checked, each, flops, record
from .training import BACKWARD, SEED, backward_of, learnable, leaves, wanted
from .truths import check

#: Peers that are timed without dropout.
WITHOUT = ("flex", "cudnn")


def run(cases: list[Case], session: Session) -> None:
    """Measure ``cases``."""
    each(cases, session, lambda case, seed: _one(case, session, seed))


def _one(case: Case, session: Session, seed: int) -> None:
    data, dout = learnable(case, session.device, session.dtype, seed)
    steps: dict[str, Run] = {OURS: _step(contenders.ours(case.spec, data), case, data, dout)}
    steps[OURS]()
    missing: dict[str, str] = {}
    for name in wanted(case, session):
        contenders.add(steps, missing, name, data, partial(_peer, name, case, data, dout))
    errors = checked(case, session, lambda: _errors(case, data, dout, session))
    if session.device != "cpu":
        _memory(case, {name: peak_bytes(step) / 2**20 for name, step in steps.items()}, session)
    times = rounds(steps, session.rounds, session.device)
    record(case, case.label, times, (1 + BACKWARD) * flops(case), errors, missing, session)


def _errors(case: Case, data: Data, dout: Tensor, session: Session) -> dict[str, float]:
    ours = backward_of(contenders.ours(case.spec, data, SEED), case, data, dout)
    return check(case, data, dout, {OURS: ours}, SEED, session.report)


def _step(forward: Run, case: Case, data: Data, dout: Tensor) -> Run:
    xs = leaves(case, data)

    def step() -> Sequence[Tensor]:
        out = forward()
        assert isinstance(out, Tensor)
        return torch.autograd.grad(out, xs, dout)

    return step


def _peer(name: str, case: Case, data: Data, dout: Tensor) -> Run | None:
    spec = case.spec.replace(dropout=0.0) if name in WITHOUT else case.spec
    forward = contenders.peer(name, spec, data)
    return None if forward is None else _step(forward, case, data, dout)


def _memory(case: Case, mib: dict[str, float], session: Session) -> None:
    figures = session.report.figures
    for name, x in mib.items():
        figures.append(Figure(case.suite, case.label, f"extra memory of {name}", x, "MiB"))
    for name, goal in case.memory.items():
        if name in mib:
            what, ratio = f"extra memory of {name} / ours", mib[name] / mib[OURS]
            figures.append(Figure(case.suite, case.label, what, ratio, "x", goal, at_least=True))
    session.say("    " + ", ".join(f"{n} {x:.0f} MiB" for n, x in mib.items()))
