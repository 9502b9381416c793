"""A row function is one class behind one door: with its name registered, and no other line changed, it has
programs, results and Triton source, forward and backward."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashgen.driver import SCHEDULES, Lowered, emit_source, plan_for
from flashgen.expr.nodes import Call, Expr, real, substitute
from flashgen.expr.terms import call, tile
from flashgen.interpret import run as interpret
from flashgen.ir.attention import AttentionIR, lower
from flashgen.ir.live import live
from flashgen.ir.names import marked, settled
from flashgen.ir.program import Map
from flashgen.ir.verify import verify_program
from flashgen.ir.widths import sized
from flashgen.rows import ROWS
from flashgen.rows.function import Logit, Noted, P, RowFunction, S, Step
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

SPEC = AttentionSpec(
    name="drawn",
    head_dim=16,
    score="s + slope * k",
    mask="causal",
    inputs={"slope": {"shape": [], "grad": True}},
)
SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}


class Ramp(RowFunction):
    """P = max(S, 0), as simple as a row function gets."""

    def logit(self, score: Expr) -> Logit:
        return Logit(substitute(score, {"s": call("mul", tile("s"), real(self.ir.scale))}), None, False)

    def weight(self, t: Expr) -> Noted:
        return Noted(call("max", t, real(0.0)), "P = max(S, 0)")

    def step(self, t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> Step:
        p, note = self.weight(tile("s"))
        p = p if visible is None else call("where", visible, p, real(0.0))
        return Step((Map(S, t.value, "score"), Map(P, p, note)))

    def slope(self, dp: Expr) -> Noted:
        counts = Call("gt", (tile("p"), real(0.0)), "bool")
        return Noted(call("where", counts, dp, real(0.0)), "dS = dP where P > 0")

    def merge(self) -> tuple[Step, Expr | None]:
        return Step(()), None


@pytest.fixture
def ir(monkeypatch: pytest.MonkeyPatch) -> AttentionIR:
    monkeypatch.setitem(ROWS, "ramp", Ramp)
    return replace(lower(SPEC), row="ramp")


def lowered(ir: AttentionIR, schedule: str) -> Lowered:
    program = sized(live(settled(SCHEDULES[schedule](marked(ir)))))
    verify_program(program)
    return Lowered(SPEC, ir, program)


def test_its_results_and_gradients_are_right(ir: AttentionIR) -> None:
    q, k, v, do = (torch.randn(1, 2, 37, 16, dtype=torch.float64) for _ in range(4))
    slope = torch.tensor(0.25, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (q, k, v, slope)]
    score = q @ k.mT / 4 + slope * torch.arange(37)
    expected = torch.relu(score).tril() @ v
    given = {"q": q, "k": k, "v": v, "slope": slope}
    given = {name: x.detach() for name, x in given.items()}
    found = interpret.run(lowered(ir, "flash2").program, SIDES, given, check=True)
    torch.testing.assert_close(found["o"], expected.detach())
    program = lowered(ir, "backward").program
    assert program.given == ("do", "q", "k", "v", "slope"), "it needs nothing of the forward"
    gradients = interpret.run(program, SIDES, {"do": do, **given}, check=True)
    for name, x in zip(("dq", "dk", "dv", "dslope"), torch.autograd.grad(expected, leaves, do), strict=True):
        torch.testing.assert_close(gradients[name], x, rtol=1e-10, atol=1e-10)


def test_it_is_printed(ir: AttentionIR) -> None:
    target = load_target("h100")
    parts = [(x, plan_for(x, target, "bf16")) for x in (lowered(ir, "flash2"), lowered(ir, "backward"))]
    text = emit_source(*parts[0], *parts[1:]).text
    ast.parse(text)
    for line in (
        "# P = max(S, 0)",
        "# dS = dP where P > 0",
        "p = tl.maximum(s, 0.0)",
        "def attention(q, k, v, *, slope):",
    ):
        assert line in text, line
    assert "tl.exp" not in text


def test_contributing_says_so() -> None:
    text = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("| a row function |"))
    assert "a file in `flashgen/rows/`" in line
