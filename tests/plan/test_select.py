"""Plans are proved: the compiler's numbers against the predictions, refusals, crashes and the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from rich.console import Console

from flashgen.backends.triton import verdict
from flashgen.backends.triton.smem import smem_bytes
from flashgen.backends.triton.verdict import compiled, job
from flashgen.driver import Lowered, lower_spec, schedules_of
from flashgen.errors import CannotRun, PlanError
from flashgen.explain.overruled import overruled
from flashgen.ir.workload import Workload
from flashgen.plan.cover import plan_for
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import tiling
from flashgen.plan.order import order_of
from flashgen.plan.plan import MAX_SPILL_BYTES, KernelPlan, Measured, Plan
from flashgen.plan.search import Candidate, candidates, choose
from flashgen.plan.select import Compile, Tell, ahead, proved, rankings
from flashgen.plan.steer import REFUSALS
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import Target, load_target

from .programs import lowered, module

W = Workload(2, 8, 8, 4096, 4096)
PASSED = Measured(40_000, 120, 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))
    return tmp_path


def plan_of(target: str, m: int, n: int, warps: int, stages: int, dtype: str = "bf16") -> Plan:
    f = facts(lowered(64, "causal").program)[0]
    kernel = KernelPlan((("BLOCK_M", m), ("BLOCK_N", n)), warps, stages, order_of(f))
    return Plan("flash2", target, dtype, (kernel,), 0, 0, 0.0)


@pytest.mark.parametrize(
    "target, dtype, tiles",
    [
        ("h100", "bf16", [(128, 64, 8, 3), (64, 64, 4, 2), (32, 32, 2, 2)]),
        ("a100", "bf16", [(64, 32, 4, 3), (128, 64, 4, 1)]),
    ],
)
def test_shared_memory_is_what_the_compiler_takes(
    target: str, dtype: str, tiles: list[tuple[int, int, int, int]]
) -> None:
    gpu, of = load_target(target), lowered(64, "causal")
    plans = [plan_of(target, *t, dtype) for t in tiles]
    compile = ahead(of.program, gpu, lambda p: module(of, p))
    for p, said in zip(plans, compile([(0, p) for p in plans]), strict=True):
        k = p.kernels[0]
        t = tiling(facts(of.program)[0], k, dtype, gpu)
        assert isinstance(said, Measured), said
        assert said.smem_bytes == smem_bytes(t), str(k)
        assert 32 <= said.registers <= 255


Sides: TypeAlias = tuple[int, ...]


def fake(answers: dict[Sides, Measured | str], calls: list[Sides], otherwise: Measured | str) -> Compile:
    """A compiler that answers by tile sides."""

    def compile(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        sides = [tuple(n for _, n in p.kernels[kernel].sides) for kernel, p in batch]
        calls.extend(sides)
        return [answers.get(s, otherwise) for s in sides]

    return compile


def ranked(
    of: Lowered, gpu: Target, compile: Compile, tell: Tell = lambda line: None
) -> list[list[Candidate]]:
    return rankings(of.program, gpu, "bf16", W, lambda p: module(of, p), tell=tell, compile=compile)


def confirmed(of: Lowered, gpu: Target, compile: Compile | None = None, dtype: str = "bf16") -> Plan:
    found = rankings(of.program, gpu, dtype, W, lambda p: module(of, p), compile=compile)
    return proved(of.program, gpu, dtype, W, found)


def test_what_is_predicted_to_be_the_fastest_is_all_that_is_compiled() -> None:
    of, gpu = lowered(64, "causal", schedule="backward"), load_target("h100")
    calls: list[Sides] = []
    plan = confirmed(of, gpu, fake({}, calls, PASSED))
    assert plan.kernels == plan_for(of.program, gpu, "bf16", W).kernels
    assert len(calls) == len(of.program.kernels)


def test_a_refuted_candidate_sends_the_search_to_the_next() -> None:
    of, gpu = lowered(64, "causal"), load_target("h100")
    calls: list[Sides] = []
    first = ranked_first(of, gpu)
    for refusal, reason in (
        (Measured(40_000, 255, 300), "spills 300 bytes a thread"),
        (Measured(300_000, 120, 0), "of shared memory"),
        ("boom", "does not compile: boom"),
    ):
        (found,) = ranked(of, gpu, fake({first: refusal}, calls, PASSED))
        assert found[0].measured is not None
        assert tuple(n for _, n in found[0].plan.sides) != first
        assert any(reason in c.rejected for c in found)
    plan = confirmed(of, gpu, fake({}, calls, PASSED))
    assert plan.compiled is not None
    assert plan.spill_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "verdict, why",
    [
        (Measured(40_000, 255, 300), r"it spills 300 bytes a thread, \d+ are allowed"),
        ("boom", "it does not compile: boom"),
    ],
)
def test_what_the_compiler_overruled_is_said(verdict: Measured | str, why: str) -> None:
    from flashgen.cli.build import said
    from flashgen.explain.words import explain

    of, gpu = lowered(64, "causal"), load_target("h100")
    (best, *_) = candidates(of.program, 0, gpu, "bf16", W)
    found = ranked(of, gpu, fake({ranked_first(of, gpu): verdict}, [], PASSED))
    plan = proved(of.program, gpu, "bf16", W, found)
    assert plan.kernels[0] != best.plan, "another one wins"
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(explain(of.program, gpu, "bf16", W, found))
    for text in ("\n".join(said(of.program, plan, gpu, found)), captured.get()):
        words = " ".join(text.split())
        assert re.search(
            rf"without the compiler {re.escape(str(best.plan))} would have won, .*; {why}", words
        )
    rows = re.findall(r"^(\d+x\d+ w\d s\d.*?)  +([\d,.]+) ", captured.get(), re.MULTILINE)
    assert len(rows) == 5
    found_times = [("*" not in plan_text, float(us.replace(",", ""))) for plan_text, us in rows]
    assert found_times == sorted(found_times), "those that were compiled, then estimates; by time"


def test_a_choice_that_the_compiler_upholds_needs_no_word() -> None:
    of, gpu = lowered(64, "causal"), load_target("h100")
    best = candidates(of.program, 0, gpu, "bf16", W)[0]
    same = Measured(best.smem_bytes, best.registers, best.spill_bytes)
    (found,) = ranked(of, gpu, fake({ranked_first(of, gpu): same}, [], "no"))
    assert found[0].plan == best.plan
    assert found[0].measured is not None
    assert overruled(of.program, 0, gpu, "bf16", W, found) == ""


def ranked_first(of: Any, gpu: Any) -> tuple[int, ...]:
    best = candidates(of.program, 0, gpu, "bf16", W)[0]
    return tuple(n for _, n in best.plan.sides)


def test_when_the_compiler_refuses_all_the_reasons_are_told() -> None:
    of, gpu = lowered(64), load_target("h100")
    with pytest.raises(PlanError, match=r"no candidate passed the compiler: .*no such instruction"):
        confirmed(of, gpu, fake({}, [], "no such instruction"))


@pytest.mark.parametrize(
    "measured, said",
    [
        (
            Measured(40_000, 255, 8_000),
            r"would spill 8,000 bytes a thread \(256 are allowed\)\..* would work",
        ),
        (Measured(327_680, 255, 0), r"would take 320 KiB of shared memory a thread block \(227 KiB exist\)"),
    ],
)
def test_refusals_are_few_and_told_as_they_come(measured: Measured, said: str) -> None:
    of, gpu = lowered(64, "causal"), load_target("h100")
    calls: list[Sides] = []
    told: list[str] = []
    found = ranked(of, gpu, fake({}, calls, measured), told.append)
    with pytest.raises(PlanError, match=f"of {REFUSALS} tried, {REFUSALS} {said}"):
        proved(of.program, gpu, "bf16", W, found)
    assert len(calls) == REFUSALS
    assert re.match(r"variant_fwd, candidate 1 \(64x.*\)$", told[0])
    assert re.match(rf"variant_fwd, candidate {REFUSALS} .*: the last (spills|takes) ", told[-1])


def test_the_compiler_is_not_asked_where_nothing_fits() -> None:
    of, gpu = lowered(64), load_target("h100", 2048)
    calls: list[Sides] = []
    with pytest.raises(PlanError) as with_compiler:
        confirmed(of, gpu, fake({}, calls, "boom"))
    with pytest.raises(PlanError) as without:
        choose(of.program, gpu, "bf16", W)
    assert str(with_compiler.value) == str(without.value)
    assert "the smallest that works needs 4 KiB" in str(without.value)
    assert calls == []


def test_a_target_whose_code_has_no_matrix_units_has_a_plan_that_compiles() -> None:
    of, gpu = lowered(64, "causal"), load_target("t4")
    plan = confirmed(of, gpu, dtype="fp16")
    assert (plan.spill_bytes or 0) <= MAX_SPILL_BYTES
    assert plan.kernels[0].num_stages == 1, "there is nothing to pipeline with"


@pytest.mark.parametrize("name", gallery())
@pytest.mark.parametrize("lse", [False, True])
def test_every_kernel_of_the_gallery_can_be_handed_to_the_compiler(name: str, lse: bool) -> None:
    spec = load_spec(gallery()[name])
    for schedule in schedules_of(spec) if lse else ("backward",):
        _is_handed(spec, schedule)


def _is_handed(spec: AttentionSpec, schedule: str) -> None:
    of, gpu = lower_spec(spec, schedule), load_target("h100")
    sides = (("BLOCK_M", 64), ("BLOCK_N", 64))
    kernels = tuple(KernelPlan(sides, 4, 2, order_of(f)) for f in facts(of.program))
    plan = Plan(schedule, "h100", "bf16", kernels, 0, 0, 0.0)
    made = module(of, plan)
    for i, kernel in enumerate(made.kernels):
        assert [n for n, _ in job(of.program, made, i, plan, gpu)["signature"]] == [
            a.name for a in kernel.args
        ]


def test_a_kernel_with_dropout_compiles() -> None:
    fields: dict[str, Any] = {"name": "dropped", "head_dim": 16, "dropout": 0.1}
    of, gpu = lower_spec(AttentionSpec(**fields)), load_target("h100")
    plan = confirmed(of, gpu)
    assert plan.compiled is not None


def work(text: str) -> dict[str, Any]:
    of, gpu = lowered(64), load_target("h100")
    plan = plan_of("h100", 64, 64, 4, 2)
    return {**job(of.program, module(of, plan), 0, plan, gpu), "text": text}


def test_a_crash_or_a_hang_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "status" in compiled(work("import os\nos.abort()\n")).error
    monkeypatch.setattr(verdict, "TIMEOUT_S", 0.2)
    assert "within 0.2 s" in compiled(work("import time\ntime.sleep(60)\n")).error


def test_verdicts_are_kept_unless_they_are_about_this_machine(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> list[Path]:
        return list(own_cache.rglob("*.json"))

    for code in ("import no_such_module\n", "open('/no/such/file')\n"):
        with pytest.raises(CannotRun, match=r"no.such"):
            compiled(work(code))
    assert kept() == []
    refused = compiled(work("raise ValueError('unfit')\n"))
    assert "unfit" in refused.error
    assert [json.loads(p.read_text()) for p in kept()] == [{"error": refused.error}]
    monkeypatch.setattr(verdict, "_run", lambda work: pytest.fail("read from the cache"))
    assert compiled(work("raise ValueError('unfit')\n")) == refused
