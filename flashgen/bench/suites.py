"""The timed suites of the forward: forward, variants and short shapes, each contender checked in the same
run. ``each`` and ``record`` serve the suites of training as well.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from flashgen.plan.plan import Plan
from flashgen.verify.errors import judge, measure
from flashgen.verify.oracle import Truth, truth
from flashgen.verify.plain import plain

from . import contenders
from .cases import Case
from .clock import GRAPH_CALLS, Run, graphed, rounds
from .contenders import OURS, Data, draw
from .report import Figure, Report, Timing

Say = Callable[[str], None]


@dataclass(frozen=True)
class Session:
    """How to measure: device, rounds, peers wanted, the second at which to stop taking new cases, and the
    specs and lengths asked for (empty: all) where a suite draws its own cases. ``beside``: plans that the
    model's choice is timed beside, by suite and pair; ``top``: how many candidates are (None: as listed)."""

    device: str
    rounds: int
    peers: tuple[str, ...]
    deadline: float
    check: bool
    report: Report
    say: Say
    save: Callable[[], object] = lambda: None  # after each case, as a run may be cut off
    dtype: torch.dtype = torch.bfloat16
    per_flop: dict[tuple[str, int, int], float] = field(default_factory=dict)
    specs: tuple[str, ...] = ()
    seqlens: tuple[int, ...] = ()
    beside: Mapping[str, Plan] = field(default_factory=dict)
    top: int | None = None

    def spent(self) -> bool:
        """True when no new case should start."""
        return time.monotonic() > self.deadline

    def wants(self, spec: str, seqlen: int) -> bool:
        """True for a case of this spec and length among those asked for."""
        return (not self.specs or spec in self.specs) and (not self.seqlens or seqlen in self.seqlens)


def flops(case: Case) -> float:
    """Matmul FLOPs as the FlashAttention papers count: 4 B H N^2 D, halved when causal."""
    s, spec = case.shape, case.spec
    form = contenders.sdpa_form(spec)
    share = 0.5 if form and form["is_causal"] else 1.0
    return 2.0 * s.B * s.Hq * s.N * s.N * (spec.d_qk + spec.d_v) * share


def timed(cases: list[Case], session: Session, by_graph: bool = False) -> None:
    """Measure the forward of ``cases``."""
    each(cases, session, lambda case, seed: _one(case, session, seed, by_graph and session.device != "cpu"))


def each(cases: list[Case], session: Session, measured: Callable[[Case, int], None]) -> None:
    """Measure ``cases`` (each with a seed for its tensors) until the time is up; results go into the
    session's report."""
    for number, case in enumerate(cases, 1):
        if session.spent():
            session.report.problems.append(
                f"out of time: {len(cases) - number + 1} cases from {case.label} on"
            )
            return
        session.say(f"[{number}/{len(cases)}] {case.suite} {case.label}")
        try:
            measured(case, number)
        except Exception as e:  # one broken case must not cost the others, which took minutes of a GPU
            session.report.problems.append(f"{case.suite} {case.label}: {type(e).__name__}: {e}")
        session.save()
        empty_cache(session)


def _one(case: Case, session: Session, seed: int, by_graph: bool) -> None:
    report = session.report
    data = draw(case.spec, case.shape, session.device, session.dtype, seed)
    wanted = [name for name in case.goals if name in session.peers]
    runs, missing = contenders.assemble(case, data, wanted)
    errors = checked(case, session, lambda: check(case, data, runs, report))
    calls = GRAPH_CALLS if by_graph else 1
    replays: Mapping[str, Run] = {n: graphed(r) for n, r in runs.items()} if by_graph else runs
    ms = {n: t / calls for n, t in rounds(replays, session.rounds, session.device).items()}
    record(case, case.label, ms, None if case.suite == "variants" else flops(case), errors, missing, session)
    report.figures.extend(_figures(case, ms, session))


def checked(case: Case, session: Session, check: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The errors that ``check`` finds, by contender. One that fails is a remark, and times still come."""
    if not session.check:
        return {}
    try:
        return check()
    except torch.cuda.OutOfMemoryError:
        why = "the dense reference does not fit"
    except Exception as e:
        why = f"{type(e).__name__}: {e}"[:300]
    finally:
        empty_cache(session)  # tens of GiB
    session.report.problems.append(f"{case.suite} {case.label}: not checked, {why}")
    return {}


def record(
    case: Case,
    label: str,
    ms: Mapping[str, float],
    work: float | None,
    errors: Mapping[str, float],
    missing: Mapping[str, str],
    session: Session,
) -> None:
    """Put times, with rates for ``work`` FLOPs, and the ratios that have goals into the report."""
    report, suite = session.report, case.suite
    for name, t in ms.items():
        rate = None if work is None else work / t / 1e9
        report.timings.append(Timing(suite, label, name, t, rate, errors.get(name)))
    for name, why in missing.items():
        report.timings.append(Timing(suite, label, name, None, note="-"))
        report.problems.append(f"{suite} {label}: {name}: {why}")
    report.figures.extend(
        Figure(suite, label, f"time of {name} / ours", ms[name] / ms[OURS], "x", goal, at_least=True)
        for name, goal in case.goals.items()
        if name in ms
    )
    session.say("    " + ", ".join(f"{n} {t:.4f} ms" for n, t in ms.items()))


def _figures(case: Case, ms: Mapping[str, float], session: Session) -> list[Figure]:
    suite, label, mine = case.suite, case.label, ms[OURS]
    found = []
    if suite == "forward":
        session.per_flop[case.spec_name, case.spec.d_qk, case.shape.N] = mine / flops(case)
    if case.per_flop_of:
        other = session.per_flop.get((case.spec_name, case.per_flop_of, case.shape.N))
        if other is not None:
            what = f"time per FLOP / that of D={case.per_flop_of}"
            found.append(Figure(suite, label, what, mine / flops(case) / other, "x", case.at_most))
    if case.at_most_us is not None:
        found.append(Figure(suite, label, "GPU time", 1e3 * mine, "us", case.at_most_us))
    return found


def empty_cache(session: Session) -> None:
    """Give memory that nothing holds back to the GPU."""
    if session.device != "cpu":
        gc.collect()
        torch.cuda.empty_cache()


def last_head(case: Case, data: Data) -> tuple[Data, int, int]:
    """The last head of the last batch entry, with its batch and head number: N x N tables of fp64 fit."""
    b, h = case.shape.B - 1, case.shape.Hq - 1
    at = {"batch": b, "heads": h, "kv_heads": case.shape.Hkv - 1}

    def part(name: str, x: torch.Tensor) -> torch.Tensor:
        for axis, dim in enumerate(case.spec.inputs[name].shape):
            if dim in at:
                x = x.narrow(axis, at[str(dim)], 1)
        return x

    inputs = {name: part(name, x) for name, x in data.inputs.items()}
    return Data(data.q[b:, h:], data.k[b:, -1:], data.v[b:, -1:], inputs), b, h


def check(case: Case, data: Data, runs: Mapping[str, Run], report: Report) -> dict[str, float]:
    """Largest error of each contender against fp64; ours is judged as in ``flashgen verify``.

    At 16,384 tokens an N x N table of fp64 takes 2 GiB, so one head stands for all.
    """
    some, b, h = last_head(case, data)
    true = truth(case.spec, some.q, some.k, some.v, some.inputs)
    plain_out, plain_lse = plain(case.spec, some.q, some.k, some.v, some.inputs)
    out, lse = contenders.ours_with_lse(case.spec, data)
    found = judge(out[b:, h:], lse[b:, h:], true, plain_out, plain_lse)
    report.problems.extend(f"WRONG: {case.suite} {case.label}: {f}" for f in found)
    return {name: _largest(run, true, b, h) for name, run in runs.items()}


def _largest(run: Run, true: Truth, b: int, h: int) -> float:
    out = run()
    assert isinstance(out, torch.Tensor)
    return measure(out[b:, h:], true.out).max
