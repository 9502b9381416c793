"""Under vmap and torch.func, autocast and torch.compile: results and gradients are those of plain calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.errors import TensorError
from flashgen.runtime import op

from .gradients import assert_same, call, cotangents, gradients
from .specs import biased, learned, plain, qkv

ALL = ["q", "k", "v", "slopes", "bias"]


def close(found: Any, want: Any) -> None:
    torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-12)


def entries(n: int = 3) -> dict[str, Tensor]:
    """``n`` calls of ``learned``, stacked."""
    return {
        name: torch.stack([t * (i + 1) if t.is_floating_point() else t + i for i in range(n)])
        for name, t in call().items()
    }


def one_by_one(f: Callable[..., Any], tensors: dict[str, Tensor]) -> list[Any]:
    return [f({name: t[i] for name, t in tensors.items()}) for i in range(3)]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_vmap_is_a_loop(compiled: bool) -> None:
    attn, tensors = flashgen.compile(learned()), entries()

    def f(t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return attn(**t, return_lse=True)

    def mapped(t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.func.vmap(f)(t)

    whole = torch.compile(mapped, fullgraph=True, backend="aot_eager") if compiled else mapped
    want = [torch.stack(part) for part in zip(*one_by_one(f, tensors), strict=True)]
    close(list(whole(tensors)), want)


def test_vmap_over_any_dim_of_some_tensors() -> None:
    attn, tensors = flashgen.compile(learned()), call()
    q = torch.stack([tensors["q"], -tensors["q"]], dim=2)
    bias = torch.stack([tensors["bias"], -tensors["bias"]])

    def f(q: Tensor, bias: Tensor) -> Tensor:
        return attn(**{**tensors, "q": q, "bias": bias})

    found = torch.func.vmap(f, in_dims=(2, 0), out_dims=1)(q, bias)
    want = torch.stack([f(q[:, :, 0], bias[0]), f(q[:, :, 1], bias[1])], dim=1)
    close(found, want)
    nested = torch.func.vmap(torch.func.vmap(f, (None, 0)), (2, None))(q, bias)
    close(nested[1, 0], f(q[:, :, 1], bias[0]))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_flow_through_vmap(compiled: bool) -> None:
    attn, tensors = flashgen.compile(learned(dropout=0.25)), entries()

    def whole(q: Tensor, k: Tensor, v: Tensor, return_lse: bool, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        def f(t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return attn(**t, seed=5, return_lse=return_lse)

        return torch.func.vmap(f)({"q": q, "k": k, "v": v, **inputs})

    def looped(q: Tensor, k: Tensor, v: Tensor, return_lse: bool, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        given = {"q": q, "k": k, "v": v, **inputs}
        each = one_by_one(lambda t: attn(**t, seed=5, return_lse=True), given)
        out, lse = zip(*each, strict=True)
        return torch.stack(out), torch.stack(lse)

    def of(f: Callable[..., Any]) -> list[Tensor]:
        given = {n: t.detach().requires_grad_(n in ALL) for n, t in tensors.items()}
        out, lse = f(**given, return_lse=True)
        return list(torch.autograd.grad(out.sin().sum() + lse.sin().sum(), [given[n] for n in ALL]))

    found = torch.compile(whole, fullgraph=True, backend="aot_eager") if compiled else whole
    close(of(found), of(looped))


def test_gradients_of_each_entry() -> None:
    attn, tensors = flashgen.compile(learned()), entries()
    rest = {"lengths": tensors.pop("lengths")}

    def loss(learned: dict[str, Tensor], rest: dict[str, Tensor]) -> Tensor:
        out, lse = attn(**learned, **rest, return_lse=True)
        return out.sin().sum() + lse.sin().sum()

    each = torch.func.grad(loss)
    found = torch.func.vmap(each)(tensors, rest)
    for i in range(3):
        given = {n: t[i].detach().requires_grad_() for n, t in tensors.items()}
        total = loss(given, {n: t[i] for n, t in rest.items()})
        want = torch.autograd.grad(total, list(given.values()))
        close([found[n][i] for n in given], list(want))


def test_a_jacobian_row_by_row() -> None:
    q, k, v = (t.double() for t in qkv(b=1, hq=2, hkv=1, nq=2, nk=3))
    attn = flashgen.compile(plain())
    q = q.requires_grad_()
    found = torch.func.jacrev(lambda q: attn(q, k, v)[0, 1, :, :3])(q.detach())
    out = attn(q, k, v)[0, 1, :, :3]
    for i in range(2):
        for j in range(3):
            (want,) = torch.autograd.grad(out[i, j], q, retain_graph=True)
            close(found[i, j], want)


@pytest.mark.parametrize("transform", ["jvp", "jacfwd", "hessian", "vmap of jvp", "jvp of vmap", "compiled"])
def test_forward_mode_is_refused(transform: str) -> None:
    q, k, v = qkv(b=1, hq=2, hkv=1, nq=2, nk=3)
    attn = flashgen.compile(plain())

    def f(q: Tensor) -> Tensor:
        return attn(q, k, v)

    def jvp(q: Tensor) -> Tensor:
        return torch.func.jvp(f, (q,), (q,))[1]

    run: dict[str, Callable[[], Any]] = {
        "jvp": lambda: jvp(q),
        "jacfwd": lambda: torch.func.jacfwd(f)(q),
        "hessian": lambda: torch.func.hessian(lambda q: f(q).sum())(q),
        "vmap of jvp": lambda: torch.func.vmap(jvp)(torch.stack([q, q])),
        "jvp of vmap": lambda: torch.func.jvp(torch.func.vmap(f), (q[None],), (q[None],)),
        "compiled": lambda: torch.compile(jvp, backend="aot_eager", fullgraph=True)(q),
    }
    kind = Exception if transform == "compiled" else TensorError  # torch wraps what a compilation raises
    with pytest.raises(kind, match="carries a tangent, and flashgen has no forward-mode derivative"):
        run[transform]()


def test_a_second_derivative_is_refused() -> None:
    q, k, v = qkv(b=1, hq=2, hkv=1, nq=2, nk=3)
    attn = flashgen.compile(plain())
    twice = torch.func.jacrev(torch.func.jacrev(lambda q: attn(q, k, v).sum()))
    with pytest.raises(TensorError, match="no second derivative"):
        twice(q)


def test_a_gradient_lost_in_a_transform_is_refused() -> None:
    tensors = call()
    slopes = tensors.pop("slopes")
    attn = flashgen.compile(biased())

    def mapped(slopes: Tensor) -> Tensor:
        return torch.func.vmap(lambda q: attn(**{**tensors, "q": q}, slopes=slopes))(tensors["q"][None]).sum()

    with pytest.raises(TensorError, match=r"slopes requires grad.*does not declare it as learned"):
        torch.func.grad(mapped)(slopes)
    with torch.no_grad():
        mapped(slopes.requires_grad_())


def test_vmap_says_whether_drops_differ() -> None:
    attn, (q, k, v) = flashgen.compile(plain(dropout=0.5)), qkv()
    twice = torch.stack([q, q])
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda q: attn(q, k, v))(twice)
    for randomness in ("same", "different"):
        first, second = torch.func.vmap(lambda q: attn(q, k, v), randomness=randomness)(twice)
        assert torch.equal(first, second) == (randomness == "same")
    seeded = torch.func.vmap(lambda seed: attn(q, k, v, seed=seed))(torch.tensor([1, 2]))
    close(list(seeded), [attn(q, k, v, seed=s) for s in (1, 2)])


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_backward_compiles_whole(dropout: float) -> None:
    attn, tensors = flashgen.compile(learned(dropout=dropout)), call()
    options = {"seed": 3} if dropout else {}
    whole = torch.compile(
        lambda **t: attn(**{**t, "q": 2 * t["q"]}, **options), fullgraph=True, backend="aot_eager"
    )
    found = gradients(whole, tensors, ALL)
    assert_same(found, gradients(lambda **t: attn(**{**t, "q": 2 * t["q"]}, **options), tensors, ALL))


def test_backward_of_a_new_length_is_not_compiled_anew() -> None:
    attn, runs = flashgen.compile(plain()), []
    layer = torch.compile(lambda q, k, v: attn(q, k, v), fullgraph=True, dynamic=True, backend="aot_eager")
    torch._dynamo.utils.counters.clear()
    for n in (8, 9, 31, 64):
        given = [t.double().requires_grad_() for t in qkv(nq=n, nk=n)]
        found, want = (torch.autograd.grad(f(*given).sin().sum(), given) for f in (layer, attn))
        close(list(found), list(want))
        runs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert runs[-1] == 1


@pytest.mark.slow
def test_opcheck_of_the_forward() -> None:
    q, k, v, *listed = call().values()
    for t in (q, k, v, *listed[:2]):
        t.requires_grad_()
    torch.library.opcheck(op.attention, (q, k, v, listed, learned().canonical_json(), None))
    text, seed = learned(dropout=0.25).canonical_json(), torch.tensor([7])
    torch.library.opcheck(op.attention, (q, k, v, listed, text, seed))


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("lse", [False, True], ids=["dout", "dout and dlse"])
def test_opcheck_of_the_backward(dropout: float, lse: bool) -> None:
    q, k, v, *listed = call().values()
    text, seed = learned(dropout=dropout).canonical_json(), torch.tensor([7]) if dropout else None
    out, sums, rest = op.attention(q, k, v, listed, text, seed)
    dout, dlse = cotangents(q, 24)
    given = (dout, dlse if lse else None, q, k, v, listed, out, sums, rest, text, seed)
    torch.library.opcheck(op.attention_backward, given)


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "vmap"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_autocast_casts_matrices(mapped: bool, compiled: bool) -> None:
    attn = flashgen.compile(learned())
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in call().items()}
    tensors = {n: t.requires_grad_(n in ALL) for n, t in tensors.items()}

    def f(q: Tensor) -> Tensor:
        return attn(**{**tensors, "q": q})

    def layer(q: Tensor) -> Tensor:
        return torch.func.vmap(f)(q[None])[0] if mapped else f(q)

    whole = torch.compile(layer, fullgraph=True, backend="aot_eager") if compiled else layer
    wanted = [tensors[n] for n in ALL]
    with torch.autocast("cpu", torch.bfloat16):
        out = whole(tensors["q"])
        sdpa = torch.nn.functional.scaled_dot_product_attention(*(tensors[n][:, :2] for n in "qkv"))
        with torch.autocast("cpu", enabled=False):
            assert f(tensors["q"]).dtype == torch.float32
    assert out.dtype == sdpa.dtype == torch.bfloat16
    found = torch.autograd.grad(out, wanted, torch.ones_like(out))
    assert all(g.dtype == torch.float32 for g in found)
    halves = {n: t.bfloat16() if n in ("q", "k", "v") else t for n, t in tensors.items()}
    want = attn(**halves)
    assert torch.equal(out, want)
    for a, b in zip(found, torch.autograd.grad(want, wanted, torch.ones_like(want)), strict=True):
        torch.testing.assert_close(a, b)


def test_autocast_brings_mixed_matrices_to_one_dtype() -> None:
    q, k, v = qkv()
    with torch.autocast("cpu", torch.bfloat16):
        out = flashgen.compile(plain())(q, k.bfloat16(), v)
    assert torch.equal(out, flashgen.compile(plain())(q.bfloat16(), k.bfloat16(), v.bfloat16()))


def test_autocast_leaves_alone_what_has_no_such_kernel() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert flashgen.compile(plain())(*(t.double() for t in qkv())).dtype == torch.float64
        assert flashgen.compile(plain(dtypes=["fp32"]))(*qkv()).dtype == torch.float32
