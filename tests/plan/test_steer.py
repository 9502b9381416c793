"""What the compiler refuses steers the search: with a compiler that is a function of tiles and warps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from flashgen.driver import Lowered, emit_source, lower_spec
from flashgen.errors import PlanError
from flashgen.explain import words as explain
from flashgen.explain.overruled import overruled
from flashgen.ir.workload import Workload
from flashgen.plan.cover import plan_for
from flashgen.plan.model.facts import facts
from flashgen.plan.plan import MAX_SPILL_BYTES, KernelPlan, Measured, Plan
from flashgen.plan.search import Candidate, choose
from flashgen.plan.select import LAST_RESORT_BYTES, Compile, ahead, proved, searches, select, shown
from flashgen.plan.shared_values import shared_values
from flashgen.plan.steer import REFUSALS, UNSOUND, doubt, room
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import Target, load_target

from .programs import lowered

W = Workload(2, 8, 8, 4096, 4096)
A100 = load_target("a100")


def elements(k: KernelPlan) -> float:
    """Elements of a tile of scores that a thread holds."""
    return math.prod(n for _, n in k.sides) / (32 * k.num_warps)


@dataclass
class Compiler:
    """Registers that a thread wants, by the plan; what it is not given spills."""

    wants: Callable[[KernelPlan], float]
    asked: list[KernelPlan] = field(default_factory=list)

    def measured(self, k: KernelPlan) -> Measured:
        self.asked.append(k)
        limit, wants = k.max_registers or 255, self.wants(k)
        return Measured(1024, min(limit, round(wants)), max(0, round(4 * (wants - limit))))

    def compile(self, batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        return [self.measured(p.kernels[kernel]) for kernel, p in batch]


def ranked(
    compile: Compile, of: Lowered | None = None, kernel: int = 0, target: Target = A100
) -> list[Candidate]:
    """The candidates of one kernel as the search leaves them."""
    of = of or lowered(64, "causal")
    base = plan_for(of.program, target, "bf16", W)
    search = searches(of.program, base, target, True)[kernel]
    select([search], compile)
    return shown(search, W)


@pytest.mark.parametrize("fit", [8, 16, 32])
def test_a_plan_is_found_in_a_few_compiles_however_small_the_tiles_that_fit(fit: int) -> None:
    compiler = Compiler(lambda k: 60 + 250 * elements(k) / fit)
    found = ranked(compiler.compile)
    assert found[0].measured is not None
    assert found[0].measured.spill_bytes <= MAX_SPILL_BYTES
    assert elements(found[0].plan) == fit, "no smaller than need be"
    assert len(compiler.asked) <= REFUSALS


def test_where_only_one_tiling_fits_it_is_found() -> None:
    def wants(k: KernelPlan) -> float:
        return 250.0 if (elements(k), k.num_warps) == (8, 1) else 300 + 100 * elements(k)

    compiler = Compiler(wants)
    found = ranked(compiler.compile)
    assert found[0].measured is not None
    assert found[0].plan.num_warps == 1
    assert len(compiler.asked) <= REFUSALS


def test_where_nothing_fits_it_is_soon_known() -> None:
    compiler = Compiler(lambda k: 1000 + 100 * elements(k))
    of = lowered(64, "causal")
    found = ranked(compiler.compile, of)
    assert len(compiler.asked) <= REFUSALS
    assert min(map(elements, compiler.asked)) == min(elements(c.plan) for c in found if not c.rejected)
    with pytest.raises(PlanError, match=r"no candidate passed the compiler: of .* would spill"):
        proved(of.program, A100, "bf16", W, [found])


def test_what_spills_least_is_taken_and_said_where_nothing_fits_by_little() -> None:
    of = lowered(64, "causal")
    compiler = Compiler(lambda k: 270 + 20 * elements(k))
    found = ranked(compiler.compile, of)
    best = found[0].measured
    assert best is not None
    assert MAX_SPILL_BYTES < best.spill_bytes <= LAST_RESORT_BYTES
    assert elements(found[0].plan) == 8
    assert proved(of.program, A100, "bf16", W, [found]).spill_bytes == best.spill_bytes
    assert "all that was tried spills more than" in overruled(of.program, 0, A100, "bf16", W, found)


def test_the_same_code_is_compiled_once() -> None:
    of = lower_spec(load_spec(gallery()["t5_bias"]), "backward")
    kernel = next(i for i, k in enumerate(of.program.kernels) if k.name.endswith("table"))
    compiler = Compiler(lambda k: 100)
    ranked(compiler.compile, of, kernel)
    code = [room(facts(of.program)[kernel], k, "bf16", A100).code for k in compiler.asked]
    assert len(set(code)) == len(code)
    assert {c.num_stages for c in code} == {1}, "a loop with a loop inside is not pipelined"


def test_what_was_taken_of_shared_memory_beyond_the_prediction_is_learnt() -> None:
    of = lowered(64, "causal")
    asked: list[int] = []

    def compile(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        rooms = [room(facts(of.program)[0], p.kernels[0], "bf16", A100) for _, p in batch]
        asked.extend(r.smem for r in rooms)
        return [Measured(r.smem * 40, 100, 0) for r in rooms]

    found = ranked(compile)
    assert found[0].measured is not None
    assert len(asked) <= REFUSALS


def test_values_that_a_backward_shares_with_the_score_are_counted() -> None:
    terms = " + ".join(
        f"w[h, {i}] * max(a[{i}] * log(float(max(qpos - k, 0)) + 1) + a[{i + 4}], 0)" for i in range(4)
    )
    learned = AttentionSpec(
        name="mlp",
        head_dim=64,
        score=f"s + {terms}",
        mask="causal",
        inputs={"w": {"shape": ["heads", 4], "grad": True}, "a": {"shape": [8], "grad": True}},
    )
    dq = lower_spec(learned, "backward").program.kernels[0]
    assert shared_values(dq) >= 4, "each unit's value, for the score and for the gradients"
    assert shared_values(lower_spec(learned, "flash2").program.kernels[0]) == 0


T5_DECODER = AttentionSpec(
    name="t5_decoder",
    head_dim=64,
    score="s + table[h, where(qpos - k < 16, max(qpos - k, 0), min(31, 16 + floor("
    "log(float(max(qpos - k, 1)) / 16) / log(8.0) * 16)))]",
    mask="causal",
    inputs={"table": {"shape": ["heads", 32], "grad": True}},
)


def test_a_kernel_whose_estimate_is_far_off_has_a_plan_after_a_few_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))
    of = lower_spec(T5_DECODER, "backward")
    kernel = next(i for i, k in enumerate(of.program.kernels) if k.name.endswith("table"))
    found = ranked(ahead(of.program, A100, partial(emit_source, of), workers=1), of, kernel)
    assert found[0].measured is not None
    assert found[0].spill_bytes <= MAX_SPILL_BYTES
    compiled = [c for c in found if c.measured or c.refused]
    assert any(c.refused for c in compiled), "the most promising one is refused, or this tests nothing"
    assert len(compiled) <= 3


def test_explain_warns_where_the_compiler_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    for of, warned in ((lower_spec(T5_DECODER, "backward"), True), (lowered(64, "causal"), False)):
        plan = choose(of.program, A100, "bf16", W)
        for f, k in zip(facts(of.program), plan.kernels, strict=True):
            assert ("the compiler has not seen it" in doubt(f, k, "bf16", A100)) == warned
    monkeypatch.setattr(explain, "doubt", lambda *_: "this is in doubt")
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(explain.explain(lowered(64).program, A100, "bf16", W))
    assert "this is in doubt" in captured.get()


def test_kinds_of_which_no_sound_code_is_made_are_left_after_two() -> None:
    """As where ptxas gets every asynchronous dot of a kernel wrong: other dots are slower, and right."""
    asked: list[KernelPlan] = []
    h100, of = load_target("h100"), lowered(64, "causal")
    kernel = facts(of.program)[0]

    def compile(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        asked.extend(p.kernels[0] for _, p in batch)
        kinds = [room(kernel, p.kernels[0], "bf16", h100).kind[0] for _, p in batch]
        return ["miscompiled" if wgmma else Measured(1024, 128, 0) for wgmma in kinds]

    found = ranked(compile, of, target=h100)
    assert not found[0].rejected
    assert not room(kernel, found[0].plan, "bf16", h100).kind[0]
    assert sum(bool(room(kernel, k, "bf16", h100).kind[0]) for k in asked) <= 2 * UNSOUND, (
        "by pointer, by descriptor"
    )
