"""The benchmark script works before it meets a GPU: cases, peers' functions, checks, files."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console

from flashgen.bench import cases, contenders, training, truths, warm
from flashgen.bench.choice import Pair, _beside
from flashgen.bench.contenders import draw
from flashgen.bench.main import SUITES, Choice, _plans, bench
from flashgen.bench.report import Figure, Report
from flashgen.bench.suites import Session, last_head
from flashgen.errors import FlashgenError
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.plan import Measured
from flashgen.runtime.source import best_plan
from flashgen.spec.gallery import gallery
from flashgen.tune.search import Ranking, Timed
from flashgen.verify.gradients import learned
from flashgen.verify.oracle import oracle
from flashgen.verify.philox import keep_mask

FLEXIBLE = sorted(gallery())


@pytest.mark.parametrize("name", FLEXIBLE)
def test_flex_gets_the_functions_a_user_would_write(name: str) -> None:
    spec = cases.spec_of(name)
    if spec.sink is not None or spec.row != "softmax":
        pytest.skip("flex has no sinks, and softmax alone")
    if spec.d_qk != spec.d_v:
        pytest.skip("uncompiled flex on the CPU wants equal head dims")
    hq, hkv = (spec.heads.q, spec.heads.kv) if spec.heads else (4, 2)
    data = draw(spec, cases.Shape(2, hq, hkv, 48), "cpu", torch.float32, seed=3)
    out = contenders.flex(spec, data, compiled=False)()
    assert isinstance(out, torch.Tensor)
    true, _ = oracle(spec, data.q, data.k, data.v, data.inputs)
    assert (out - true).abs().max() < 1e-4


def test_sdpa_is_asked_only_for_what_it_can_express() -> None:
    plain = [n for n in gallery() if (f := contenders.sdpa_form(cases.spec_of(n))) and not f["is_causal"]]
    causal = [n for n in gallery() if (f := contenders.sdpa_form(cases.spec_of(n))) and f["is_causal"]]
    for name in plain:
        assert cases.spec_of(name).mask is None
    assert plain
    assert causal
    assert not set(causal) & {n for n in gallery() if cases.spec_of(n).score != "s"}
    assert contenders.sdpa_form(cases.spec_of(plain[0]).replace(row="sigmoid")) is None


def test_one_head_stands_for_all() -> None:
    spec = cases.spec_of("alibi")
    case = cases.Case("variants", "alibi", spec, cases.Shape(2, 4, 2, 40))
    data = draw(spec, case.shape, "cpu", torch.float32, seed=1)
    some, b, h = last_head(case, data)
    all_of_it, _ = oracle(spec, data.q, data.k, data.v, data.inputs)
    part, _ = oracle(spec, some.q, some.k, some.v, some.inputs)
    assert torch.allclose(part, all_of_it[b:, h:], rtol=1e-12, atol=1e-12)


def test_every_case_of_the_table_is_a_sound_spec_with_goals() -> None:
    listed = ("variants", "short", "errors", "backward-variants", "figure2")
    grids = [c for s in cases.GRIDS for c in cases.grid(s)]
    every = grids + [c for s in listed for c in cases.listed(s)]
    assert {c.spec.d_qk for c in every if c.suite == "forward"} == {64, 96, 128, 192, 256}
    assert all(c.shape.B * c.shape.N == 16384 for c in grids)
    assert all(bool(c.spec.dropout) == (c.suite in ("dropout", "figure2")) for c in every)
    assert not [c.label for c in every if c.suite == "backward-variants" and learned(c.spec)]
    assert any(c.goals.get("flex") for c in every)


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(1.2, True, True), (1.2, False, False), (1.0, True, True)]
)
def test_a_figure_meets_its_goal_at_the_goal(value: float, at_least: bool, met: bool) -> None:
    assert Figure("s", "c", "w", value, "x", 1.0 if value == 1.0 else 1.1, at_least).met is met


def test_a_dry_run_goes_through_every_timed_suite(tmp_path: Path) -> None:
    choice = Choice(
        ("forward", "variants", "short", "errors"), head_dims=(64, 256), specs=("full", "gemma2_local")
    )
    report = bench(choice, dry_run=True, out=tmp_path, console=Console(quiet=True))
    remarks = [p for p in report.problems if "WRONG" in p or "Error" in p]
    assert not remarks
    assert {t.suite for t in report.timings} == {"forward", "variants", "short"}
    assert all(t.error is not None for t in report.timings if t.ms is not None)
    whole = json.loads((tmp_path / "bench.json").read_text())
    assert len(whole["timings"]) == len(report.timings)
    assert (tmp_path / "errors.csv").exists()


def test_a_dry_run_times_masks_beside_the_same_with_a_proof() -> None:
    report = bench(Choice(("unseen",)), dry_run=True, console=Console(quiet=True))
    assert report.problems == []
    assert len(report.figures) == 8


@pytest.mark.parametrize("suite", ["backward", "backward-variants", "dropout", "figure2"])
def test_a_dry_run_goes_through_the_suites_of_training(suite: str, tmp_path: Path) -> None:
    choice = Choice((suite,), head_dims=(64,) if suite == "dropout" else (64, 128))
    report = bench(choice, dry_run=True, out=tmp_path, console=Console(quiet=True))
    assert not [
        p
        for p in report.problems
        if not p.endswith(
            ("flex: cannot express this spec here", "reduce-add: cannot express this spec here")
        )
    ]
    ours = [t for t in report.timings if t.contender == contenders.OURS]
    assert {t.suite for t in ours} == {suite}
    assert all(t.error is not None for t in ours if not t.case.endswith(" forward"))
    assert report.figures or suite == "backward-variants"  # of which only flex is a peer
    assert (tmp_path / "bench.md").exists()


def test_a_dry_run_trains_the_example(tmp_path: Path) -> None:
    report = bench(Choice(("gpt2",)), dry_run=True, out=tmp_path, console=Console(quiet=True))
    assert not report.problems
    assert {t.contender for t in report.timings} == {"flashgen", "sdpa", "standard"}
    assert [f.goal for f in report.figures if "those with sdpa" in f.what] == [1.0]


def test_wrong_gradients_are_a_remark() -> None:
    case = cases.Case("backward", "full", cases.spec_of("full", {"head_dim": 16}), cases.Shape(1, 2, 2, 40))
    data, dout = training.learnable(case, "cpu", torch.float32, seed=1)
    right = training.backward_of(contenders.ours(case.spec, data), case, data, dout)()
    for dk, wrong in ((right[1], False), (right[1] * 1.01, True)):
        report = Report()
        given = {contenders.OURS: partial(tuple, (right[0], dk, right[2]))}
        truths.check(case, data, dout, given, None, report)
        assert any("dk" in p for p in report.problems) is wrong
        assert bool(report.problems) is wrong


def test_cases_travel_to_the_processes_that_compile_them() -> None:
    for suite in ("backward-variants", "figure2"):
        for case in cases.listed(suite, tiny=True):
            there = pickle.loads(pickle.dumps(case))
            assert there == case
            warm._compile(there, ("flex",), "cpu", torch.float32)


def test_the_keep_mask_of_one_head_is_its_part_of_the_whole() -> None:
    whole = keep_mask(training.SEED, 2, 3, 37, 50, 0.3)
    for head in (0, 4, 5):
        part = truths.keep_of(training.SEED, head, 37, 50, 0.3)
        assert (part == whole[head // 3, head % 3]).all()


def test_no_case_starts_when_the_time_is_up() -> None:
    report = bench(Choice(("forward",)), dry_run=True, seconds=-1.0, console=Console(quiet=True))
    assert not report.timings
    assert "out of time" in report.problems[0]


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(FlashgenError, match=r"'forwards' is none of .*forward"):
        bench(Choice(("forwards",)), dry_run=True)


def test_an_unknown_peer_is_named() -> None:
    with pytest.raises(FlashgenError, match="flash3"):
        bench(Choice(SUITES), peers=("flash3",), dry_run=True)


def test_plans_of_another_run_are_read_again(tmp_path: Path) -> None:
    plan = best_plan(cases.spec_of("causal").canonical_json(), "h100", "bf16", LONG)
    Report(choices={"choice|x": plan.to_json()}).write(tmp_path)
    assert _plans(tmp_path / "choices.json") == {"choice|x": plan}
    (tmp_path / "bad.json").write_text('{"x": 1}')
    with pytest.raises(FlashgenError, match=r"bad\.json holds no plans"):
        _plans(tmp_path / "bad.json")


def test_the_choice_is_compared_with_the_plan_beside_it() -> None:
    spec, work = cases.spec_of("causal"), Workload(1, 2, 2, 128, 128)
    plan = best_plan(spec.canonical_json(), "h100", "bf16", LONG)
    (mine,), other = plan.kernels, replace(plan.kernels[0], num_warps=1)
    size = Measured(1, 1, 0)
    rows = (Timed(mine, 1.0, 6.0, size), Timed(other, 1.0, 5.0, size))
    ranking = Ranking("fwd", rows, rows[0], ())
    session = Session("cpu", 1, (), 0.0, False, Report(), lambda line: None)
    pair = Pair("causal", spec, "flash2", work, None)
    assert _beside("choice", pair, [ranking], replace(plan, kernels=(other,)), session) == [1.2]
    absent = replace(plan, kernels=(replace(other, num_warps=2),))
    assert _beside("choice", pair, [ranking], absent, session) == []
    assert "did not run" in session.report.problems[0]
