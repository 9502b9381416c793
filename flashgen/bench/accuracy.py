"""The errors suite: ours, plain PyTorch's and SDPA flash's errors against fp64, by distribution."""

from __future__ import annotations

import torch

from flashgen.verify.errors import judge, measure
from flashgen.verify.inputs import DISTRIBUTIONS, Draw
from flashgen.verify.oracle import scale_of, truth
from flashgen.verify.plain import plain

from . import contenders
from .cases import Case
from .contenders import OURS, Data, draw
from .report import ErrorRow, Figure
from .suites import Session

MEASURES = ("max", "mean", "row_rms")


def run(cases: list[Case], session: Session) -> None:
    """One row per case, distribution and contender; ours is judged as in ``flashgen verify``."""
    for case in cases:
        for name in DISTRIBUTIONS:
            if session.spent():
                session.report.problems.append(f"out of time at errors {case.label} {name}")
                return
            session.say(f"errors {case.label} {name}")
            try:
                _one(case, name, session)
            except Exception as e:  # as in the timed suites: the others still count
                session.report.problems.append(f"errors {case.label} {name}: {type(e).__name__}: {e}")
        session.save()


def _data(case: Case, distribution: str, session: Session) -> Data:
    rest = draw(case.spec, case.shape, session.device, session.dtype, seed=1)
    gen = torch.Generator().manual_seed(1)
    q_shape, k_shape, v_shape = ((*x.shape[:3], x.shape[3]) for x in (rest.q, rest.k, rest.v))
    drawn = DISTRIBUTIONS[distribution](Draw(gen, q_shape, k_shape, v_shape, scale_of(case.spec)))
    q, k, v = (x.to(session.device, session.dtype) for x in drawn)
    return Data(q, k, v, rest.inputs)


def _one(case: Case, distribution: str, session: Session) -> None:
    data, report = _data(case, distribution, session), session.report
    true = truth(case.spec, data.q, data.k, data.v, data.inputs)
    plain_out, plain_lse = plain(case.spec, data.q, data.k, data.v, data.inputs)
    out, lse = contenders.ours_with_lse(case.spec, data)
    for finding in judge(out, lse, true, plain_out, plain_lse):
        report.problems.append(f"WRONG: errors {case.label} {distribution}: {finding}")
    results = {OURS: out, "plain": plain_out}
    flash = contenders.sdpa("flash", case.spec, data) if case.sdpa and data.q.is_cuda else None
    if flash is not None:
        got = flash()
        assert isinstance(got, torch.Tensor)
        results["flash"] = got
    label = f"{case.label} {distribution}"
    errors = {name: measure(x, true.out) for name, x in results.items()}
    for name, e in errors.items():
        report.errors.append(ErrorRow(label, name, e.max, e.mean, e.row_rms))
    if flash is not None and distribution == "randn":  # elsewhere one rounding decides which is larger
        for what in MEASURES:
            ratio = getattr(errors[OURS], what) / max(getattr(errors["flash"], what), 1e-30)
            report.figures.append(Figure("errors", label, f"{what} error / that of flash", ratio, "x", 1.0))
