"""Gradients through the public call: right, laid out as promised, and refused where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import flashgen
from flashgen.errors import TensorError
from flashgen.runtime import op
from flashgen.verify.oracle import oracle

from .gradients import assert_same, call, cotangents, expected, gradients
from .specs import biased, inputs_of_biased, learned, plain, qkv

ALL = ["q", "k", "v", "slopes", "bias"]


@pytest.mark.parametrize("lse", [False, True], ids=["out", "out and lse"])
@pytest.mark.parametrize("wanted", [ALL, ["q"], ["k"], ["v"], ["slopes"], ["bias", "v"]], ids=str)
def test_gradients_are_the_oracles(wanted: list[str], lse: bool) -> None:
    tensors = call()
    found = gradients(flashgen.compile(learned()), tensors, wanted, lse)
    assert_same(found, expected(learned(), tensors, wanted, lse))


def test_a_gradient_of_lse_alone() -> None:
    tensors = {n: t.requires_grad_(n in ALL) for n, t in call().items()}
    weights = cotangents(tensors["q"], 24)[1]
    _, lse = flashgen.compile(learned())(**tensors, return_lse=True)
    found = torch.autograd.grad(lse, [tensors[n] for n in ALL], weights)
    inputs = {n: tensors[n] for n in ("slopes", "bias", "lengths")}
    _, true = oracle(learned(), tensors["q"], tensors["k"], tensors["v"], inputs)
    want = torch.autograd.grad(true, [tensors[n] for n in ALL], weights, allow_unused=True)
    assert_same(
        dict(zip(ALL, found, strict=True)),
        {n: torch.zeros_like(tensors[n]) if t is None else t for n, t in zip(ALL, want, strict=True)},
    )


def test_what_asks_for_no_gradient_gets_none() -> None:
    tensors = call()
    tensors["q"].requires_grad_()
    tensors["bias"].requires_grad_()
    flashgen.compile(learned())(**tensors).sum().backward()
    assert {n for n, t in tensors.items() if t.grad is not None} == {"q", "bias"}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_a_graph_nothing_is_kept(mode: type) -> None:
    q, k, v = qkv(dv=24)
    tensors = {"q": q, "k": k, "v": v, **inputs_of_biased(q, k)}
    for name in ALL:
        tensors[name].requires_grad_()
    with mode():
        assert not flashgen.compile(learned())(**tensors).requires_grad


@pytest.mark.parametrize("name", ["slopes", "bias"])
def test_a_gradient_that_would_be_lost_is_refused(name: str) -> None:
    tensors = call()
    tensors[name].requires_grad_()
    attn = flashgen.compile(biased())
    with pytest.raises(TensorError, match=f"{name} requires grad.*`grad: true` for the input {name}"):
        attn(**tensors)
    q, k, v, *listed = tensors.values()
    with pytest.raises(TensorError, match=f"{name} requires grad"):
        op.attention(q, k, v, listed, biased().canonical_json(), None)
    with torch.no_grad():
        attn(**tensors)


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_spec_without_a_backward_refuses_gradients(name: str) -> None:
    tensors = dict(zip("qkv", qkv(), strict=True))
    tensors[name].requires_grad_()
    attn = flashgen.compile(plain(backward=False))
    with pytest.raises(TensorError, match=f"{name} requires grad, and plain has no backward"):
        attn(**tensors)
    compiled = torch.compile(lambda **t: attn(**t), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=f"{name} requires grad, and plain has no backward"):
        compiled(**tensors)
    with torch.no_grad():
        attn(**tensors)


def test_a_second_derivative_is_refused() -> None:
    q, k, v = qkv()
    q.requires_grad_()
    (dq,) = torch.autograd.grad(flashgen.compile(plain())(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(TensorError, match=r"no second derivative.*without create_graph=True"):
        dq.sum().backward()


def test_gradcheck() -> None:
    spec = learned(score="tanh(s) + slopes[h] * (k - qpos) / 4 + weight * bias[h, q, k]")
    tensors = call(b=1, hq=2, hkv=1, nq=3, nk=4)
    attn = flashgen.compile(spec)

    def f(*given: Tensor) -> tuple[Tensor, Tensor]:
        return attn(**{**tensors, **dict(zip(ALL, given, strict=True))}, return_lse=True)

    assert torch.autograd.gradcheck(f, [tensors[n].requires_grad_() for n in ALL], fast_mode=True)


def permuted(t: Tensor) -> Tensor:
    return t.transpose(1, 2).contiguous().transpose(1, 2)


LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": permuted,
    "every other": lambda t: t.repeat_interleave(2, 2)[:, :, ::2],
    "in a wider row": lambda t: torch.cat([t, t], -1)[..., t.shape[-1] :],
    "expanded": lambda t: t[:1].expand(2, -1, -1, -1),
    "heads expanded": lambda t: t[:, :1].expand(-1, t.shape[1], -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_are_the_fake_kernels(layout: str) -> None:
    q, k, v = (LAYOUTS[layout](t.double()) for t in qkv())
    text = plain().canonical_json()
    out, lse, rest = op.attention(q, k, v, [], text, None)
    assert rest == []
    dout, dlse = cotangents(q, 16)
    for rows in (dout, permuted(dout), torch.ones(()).double().expand_as(dout)):
        real = op.attention_backward(rows, dlse, q, k, v, [], out, lse, [], text, None)[:3]
        with FakeTensorMode() as mode:
            r, d, *matrices, o, s = (mode.from_tensor(t) for t in (rows, dlse, q, k, v, out, lse))
            fake = op.attention_backward(r, d, *matrices, [], o, s, [], text, None)[:3]
        for a, b in zip(real, fake, strict=True):
            assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)
    if layout in ("contiguous", "transposed"):
        assert [g.stride() for g in real] == [t.stride() for t in (q, k, v)]


@pytest.mark.parametrize(
    "view",
    [
        lambda g: g,
        permuted,
        lambda g: g[:1, :1, :1, :1].expand_as(g),
        lambda g: g[..., :1].expand_as(g),
        lambda g: g[:, :1].expand_as(g),
        lambda g: g.flip(3).mT.contiguous().mT,
        lambda g: torch.stack([g, g], -1)[..., 0],
    ],
)
def test_dout_may_lie_anyhow(view: object) -> None:
    q, k, v = (t.double().requires_grad_() for t in qkv())
    out = flashgen.compile(plain())(q, k, v)
    dout = view(cotangents(q, 16)[0])  # type: ignore[operator]
    found = torch.autograd.grad(out, (q, k, v), dout)
    want = torch.autograd.grad(oracle(plain(), q, k, v)[0], (q, k, v), dout.contiguous())
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_a_broadcast_input_gets_the_sum() -> None:
    tensors = call()
    bias = tensors["bias"][:1, :1].clone().requires_grad_()
    slope = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    spread = {**tensors, "bias": bias.expand(4, 9, 13), "slopes": slope.expand(4)}
    dout = cotangents(tensors["q"], 24)[0]
    found = torch.autograd.grad(flashgen.compile(learned())(**spread), (bias, slope), dout)
    each = expected(learned(), {n: t.detach() for n, t in spread.items()}, ["bias", "slopes"], lse=False)
    torch.testing.assert_close(found[0], each["bias"].sum((0, 1), keepdim=True))
    torch.testing.assert_close(found[1], each["slopes"].sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_have_the_dtypes_of_what_they_are_of(dtype: torch.dtype) -> None:
    tensors = {n: t.to(dtype) if n in ("q", "k", "v") else t for n, t in call().items()}
    tensors |= {"slopes": tensors["slopes"].float(), "bias": tensors["bias"].bfloat16()}
    found = gradients(flashgen.compile(learned()), tensors, ALL)
    assert {n: t.dtype for n, t in found.items()} == {n: tensors[n].dtype for n in ALL}


EMPTY = [{"nq": 0}, {"nk": 0}, {"b": 0}, {"nq": 0, "nk": 0}, {"b": 0, "nk": 0}]


@pytest.mark.parametrize("lse", [False, True], ids=["out", "out and lse"])
@pytest.mark.parametrize("sizes", EMPTY, ids=str)
def test_gradients_of_nothing(sizes: dict[str, int], lse: bool) -> None:
    tensors = call(**sizes)
    found = gradients(flashgen.compile(learned()), tensors, ALL, lse)
    assert_same(found, expected(learned(), tensors, ALL, lse))


@pytest.mark.parametrize("lse", [False, True], ids=["out", "out and lse"])
def test_rows_that_see_nothing_pass_nothing_on(lse: bool) -> None:
    spec, names = plain(mask="(k < 5) & (q > 3)"), ["q", "k", "v"]
    tensors = dict(zip(names, (t.double() for t in qkv()), strict=True))
    found = gradients(flashgen.compile(spec), tensors, names, lse)
    assert_same(found, expected(spec, tensors, names, lse))
    assert not found["q"][:, :, :4].any()
    assert not found["k"][:, :, 5:].any()


def test_deterministic_algorithms_may_be_demanded() -> None:
    tensors, spec = call(), learned(dropout=0.25)
    torch.use_deterministic_algorithms(True)
    try:
        once, again = (gradients(flashgen.compile(spec), tensors, ALL, seed=7) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(once[n], again[n]) for n in ALL)
    assert_same(once, expected(spec, tensors, ALL, seed=7))
