"""Sigmoid attention as a user calls it, and bugs that the verifier must notice."""

from __future__ import annotations

import pytest
import torch

import flashgen
from flashgen.driver import lower_spec
from flashgen.errors import PlanError, TensorError
from flashgen.expr.nodes import Expr, real
from flashgen.expr.terms import call, tile
from flashgen.rows import ROWS
from flashgen.rows.function import Logit, Noted, Step
from flashgen.rows.sigmoid import Sigmoid
from flashgen.spec.model import AttentionSpec
from flashgen.verify import check, check_gradients
from flashgen.verify.case import Case

SPEC = AttentionSpec(name="drawn", head_dim=16, row="sigmoid", score="s - log(Nk)", mask="causal")
CALL = flashgen.compile(SPEC)
CASE = Case(2, 4, 2, 37, 70, "fp32", tile=(16, 16), poison=True)


class NoMask(Sigmoid):
    def step(self, t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> Step:
        return super().step(t, None, rows_may_be_empty)


class Exponential(Sigmoid):
    def weight(self, t: Expr) -> Noted:
        return Noted(call("exp2", call("neg", t)), "P = exp(S)")


class WrongSign(Sigmoid):
    def weight(self, t: Expr) -> Noted:
        return super().weight(call("neg", t))


class NoLogistic(Sigmoid):
    def slope(self, dp: Expr) -> Noted:
        return Noted(call("mul", tile("p"), dp), "dS = P * dP")


class SquaredWeight(Sigmoid):
    def slope(self, dp: Expr) -> Noted:
        return Noted(call("mul", call("mul", tile("p"), tile("p")), dp), "dS = P * P * dP")


class Shifted(Sigmoid):
    def slope(self, dp: Expr) -> Noted:
        value, note = super().slope(call("sub", dp, real(0.01)))
        return Noted(value, note)


class TrustsRowsPastTheEnd(Sigmoid):
    weights_past_the_end = False


@pytest.mark.parametrize("schedule", ["backward", "flash1_backward", "standard_backward"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "fp64"])
def test_an_honest_one_passes(schedule: str, dtype: str) -> None:
    case = Case(**{**CASE.to_json(), "dtype": dtype})
    assert check(SPEC, case) == []
    assert check_gradients(SPEC, case, schedule=schedule) == []


@pytest.mark.parametrize("bug", [NoMask, Exponential, WrongSign])
def test_a_wrong_forward_is_noticed(bug: type[Sigmoid], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "sigmoid", bug)
    assert check(SPEC.replace(name=bug.__name__.lower()), CASE)


@pytest.mark.parametrize("bug", [Exponential, WrongSign, NoLogistic, SquaredWeight, Shifted])
def test_a_wrong_backward_is_noticed(bug: type[Sigmoid], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "sigmoid", bug)
    assert check_gradients(SPEC.replace(name=bug.__name__.lower()), CASE)


def test_rows_past_the_end_show_no_key_to_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have weights, even beside a key of NaN where the score does not look at it, and a mask that no
    bound proves lets them see what no query sees."""
    hidden = SPEC.replace(name="hidden", mask="(k + q) % 40 < 3", score="where(k % 2 == 0, s, 0.5)")
    case = Case(1, 1, 1, 20, 70, "fp32", tile=(32, 16), poison=True)
    assert check_gradients(hidden, case) == []
    monkeypatch.setitem(ROWS, "sigmoid", TrustsRowsPastTheEnd)
    assert check_gradients(hidden.replace(name="trusting"), case)


def test_a_row_that_sees_nothing_is_zero_and_so_are_its_gradients() -> None:
    attend = flashgen.compile(SPEC)
    q, k, v = (torch.randn(1, 2, n, 16, requires_grad=True) for n in (40, 8, 8))
    out = attend(q, k, v)
    assert (out[:, :, :32] == 0).all()
    assert (out[:, :, 32:] != 0).any(-1).all()
    out.sum().backward()
    assert q.grad is not None
    assert (q.grad[:, :, :32] == 0).all()


def test_a_backward_keeps_no_result() -> None:
    """q, k and v are saved, and nothing of the size of ``out`` or of a row."""
    q, k, v = (torch.randn(1, 2, 8, 16, requires_grad=True) for _ in range(3))
    kept: list[torch.Tensor] = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = flashgen.compile(SPEC)(q, k, v)
    given = {x.data_ptr() for x in (q, k, v)}
    assert all(x.numel() == 0 or x.data_ptr() in given for x in kept)
    assert torch.autograd.gradcheck(flashgen.compile(SPEC), [x.double() for x in (q, k, v)])
    assert out.requires_grad


def test_transforms_and_dropout_go_with_it() -> None:
    attend = flashgen.compile(SPEC.replace(dropout=0.5))
    q, k, v = (torch.randn(2, 2, 8, 16) for _ in range(3))
    one = attend(q, k, v, seed=3)
    each = torch.func.vmap(lambda q: attend(q, k, v, seed=3))(q[None])
    torch.testing.assert_close(each[0], one)
    torch.testing.assert_close(attend(q, k, v, training=False), flashgen.compile(SPEC)(q, k, v))
    by = torch.func.grad(lambda q: attend(q, k, v, seed=3).sum())(q)
    leaf = q.clone().requires_grad_()
    attend(leaf, k, v, seed=3).sum().backward()
    torch.testing.assert_close(by, leaf.grad)


def test_fake_tensors_have_its_results() -> None:
    @torch.compile(fullgraph=True, backend="aot_eager")
    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return CALL(q, k, v)

    q, k, v = (torch.randn(1, 2, 8, 16, requires_grad=True) for _ in range(3))
    attend(q, k, v).sum().backward()
    expected = torch.autograd.grad(CALL(q, k, v).sum(), (q, k, v))
    for x, dx in zip((q, k, v), expected, strict=True):
        torch.testing.assert_close(x.grad, dx)


def test_what_it_has_not_is_refused_with_words() -> None:
    q, k, v = (torch.randn(1, 2, 8, 16) for _ in range(3))
    with pytest.raises(
        TensorError, match="drawn has no lse: its `row: sigmoid` divides by no sum of weights"
    ):
        CALL(q, k, v, return_lse=True)
    with pytest.raises(PlanError, match="leaves no lse that a gradient could arrive at"):
        lower_spec(SPEC, "backward_lse")
    for schedule in ("flash1", "standard"):
        with pytest.raises(
            PlanError, match=f"{schedule} is an algorithm of softmax, and drawn has `row: sigmoid`"
        ):
            lower_spec(SPEC, schedule)
