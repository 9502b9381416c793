"""A key that no query sees may hold anything, NaN and infinities too: it never matters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, check_gradients
from flashgen.verify.run import program, program_backward
from flashgen.verify.specs import cases, specs

INPUTS = {
    "pos": {"shape": ["batch", "seqlen_q"], "dtype": "int"},
    "keep": {"shape": ["batch", "seqlen_k"], "dtype": "bool"},
    "tree": {"shape": ["batch", "seqlen_q", "seqlen_k"], "dtype": "bool"},
    "doc": {"shape": ["batch", "seqlen_k"], "dtype": "int"},
    "n": {"shape": ["batch"], "dtype": "int"},
}
MASKS = (
    "k <= pos[b, q]",
    "keep[b, k]",
    "causal & keep[b, k]",
    "tree[b, q, k]",
    "doc[b, k] == doc[b, qpos]",
    "window(3, 0)",
    "causal_top_left",
    "prefix(9)",
    "k < qpos",
    "chunked(7)",
    "dilated(3) & window(20, 0)",
    "(n[b] <= k) & (k <= q + 2)",
    "(k < n[b]) & (doc[b, k] == doc[b, qpos])",
)
SIZES = ((20, 37), (37, 37), (37, 20))
SOME = ("k <= pos[b, q]", "causal & keep[b, k]", "doc[b, k] == doc[b, qpos]", "window(3, 0)", "k < qpos")


def masked(mask: str, score: str = "s") -> AttentionSpec:
    used = {name: tensor for name, tensor in INPUTS.items() if f"{name}[" in mask}
    return AttentionSpec(name="x", head_dim=16, score=score, mask=mask, inputs=used)


@pytest.mark.parametrize("mask", MASKS)
def test_on_the_program(mask: str) -> None:
    for seed, (n_q, n_k) in enumerate(SIZES):
        case = Case(2, 2, 1, n_q, n_k, poison=True, seed=seed, through="both")
        spec = masked(mask, ("s", "softcap(s, 5.0)")[seed % 2])
        assert check(spec, case, program((16, 16))) == []
        assert check_gradients(spec, case, program_backward((16, 32))) == []


@pytest.mark.parametrize("schedule", ["standard", "flash1", "standard_backward", "flash1_backward"])
@pytest.mark.parametrize("mask", SOME)
def test_in_every_schedule(mask: str, schedule: str) -> None:
    case = Case(1, 2, 1, 20, 37, tile=(16, 16), poison=True, seed=1)
    compare = check_gradients if "backward" in schedule else check
    assert compare(masked(mask), case, schedule=schedule) == []


@pytest.mark.parametrize("mask", SOME)
def test_in_triton_kernels(mask: str) -> None:
    pytest.importorskip("triton")
    case = Case(1, 2, 1, 20, 40, "fp16", tile=(16, 16), poison=True, seed=1)
    assert check(masked(mask), case, "triton-interpreted") == []
    assert check_gradients(masked(mask), case, "triton-interpreted") == []


@settings(max_examples=15)
@given(data=st.data())
def test_whatever_the_spec(data: st.DataObject) -> None:
    spec = data.draw(specs(("fp32", "fp16"), training=True))
    case = data.draw(cases(spec, spec.dtypes, 70, ((16, 16), (16, 64), (64, 16))))
    poisoned = Case(**{**case.to_json(), "layouts": case.layouts, "tile": case.tile, "poison": True})
    assert check(spec, poisoned, program(case.tile)) == []


def test_nan_in_keys_alone_leaves_every_gradient_as_it_is() -> None:
    q, k, v = torch.randn(3, 1, 2, 50, 16).unbind()
    keep = torch.arange(50)[None] % 3 != 1
    attention = flashgen.compile(masked("keep[b, k]"))

    def gradients(k: torch.Tensor, v: torch.Tensor) -> list[torch.Tensor]:
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        attention(*leaves, keep=keep).sum().backward()
        return [x.grad for x in leaves]

    hidden = ~keep[0]
    poisoned = (k.clone(), v.clone())
    for x in poisoned:
        x[:, :, hidden] = torch.nan
    for got, right in zip(gradients(*poisoned), gradients(k, v), strict=True):
        assert got.equal(right)


def test_nan_that_a_query_sees_is_not_lost() -> None:
    q, k, v = torch.randn(3, 1, 1, 40, 16).unbind()
    v[0, 0, 7, 3] = torch.nan
    out = flashgen.compile(masked("tree[b, q, k]"))(q, k, v, tree=torch.eye(40, dtype=torch.bool)[None])
    assert out[0, 0, 7, 3].isnan()
