"""``flashgen::attention`` as torch sees it: eager, fake, compiled, exported, in every layout."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import flashgen
from flashgen.runtime import op
from flashgen.verify.oracle import oracle

from .specs import biased, inputs_of_biased, plain, qkv


def expect(spec: flashgen.AttentionSpec, *qkv: Tensor, **inputs: Tensor) -> None:
    """In fp64, where what is not the oracle's is wrong and no rounding."""
    q, k, v = (t.double() for t in qkv)
    out, lse = flashgen.compile(spec)(q, k, v, return_lse=True, **inputs)
    want, want_lse = oracle(spec, q, k, v, inputs)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(lse.double(), want_lse.double(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("nq,nk", [(1, 1), (9, 13), (13, 9), (64, 65), (1, 129)])
def test_cpu_tensors_run_the_program(nq: int, nk: int) -> None:
    q, k, v = qkv(nq=nq, nk=nk, dv=24)
    expect(biased(), q, k, v, **inputs_of_biased(q, k))
    expect(plain(), *qkv(nq=nq, nk=nk))


def test_stride_zero_inputs_are_read_as_they_stand() -> None:
    q, k, v = qkv(dv=24)
    inputs = inputs_of_biased(q, k)
    inputs["bias"] = inputs["bias"][:1, :1].expand(4, 9, 13)
    inputs["slopes"] = torch.tensor([0.25]).expand(4)
    expect(biased(), q, k, v, **inputs)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_out_keeps_the_order_of_q(order: tuple[int, int, int]) -> None:
    q, k, v = qkv(b=2, hq=4, nq=9)
    back = [order.index(d) for d in range(3)]
    q = q.permute(*order, 3).contiguous().permute(*back, 3)
    out = flashgen.compile(plain())(q, k, v)
    assert out.stride() == q.stride()
    torch.testing.assert_close(out, flashgen.compile(plain())(q.contiguous(), k, v))


@pytest.mark.parametrize(
    "view",
    [
        lambda q: q,
        lambda q: q[:, :, ::2],
        lambda q: q.transpose(1, 2).contiguous().transpose(1, 2),
        lambda q: q[:1].expand(2, -1, -1, -1),
        lambda q: q[:, :, :1],
        lambda q: q[:, :1],
        lambda q: q[:, :, :0],
        lambda q: torch.cat([q, q], -1)[..., 16:],
    ],
)
def test_fake_strides_are_the_real_ones(view: object) -> None:
    q, k, v = qkv(hkv=1)
    q = view(q)  # type: ignore[operator]
    spec = plain(score="s * 1e6").canonical_json()
    out, lse, rest = op.attention(q, k, v, [], spec, None)
    with FakeTensorMode() as mode:
        fake, fake_lse, fake_rest = op.attention(*(mode.from_tensor(t) for t in (q, k, v)), [], spec, None)
    assert len(rest) == 1
    for a, b in zip((out, lse, *rest), (fake, fake_lse, *fake_rest), strict=True):
        assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_opcheck(dtype: torch.dtype) -> None:
    q, k, v = qkv(dv=24)
    listed = list(inputs_of_biased(q, k).values())
    args = (q.to(dtype), k.to(dtype), v.to(dtype), listed, biased().canonical_json(), None)
    torch.library.opcheck(op.attention, args)


def test_opcheck_of_a_transposed_view() -> None:
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in qkv())
    torch.library.opcheck(op.attention, (q, k, v, [], plain().canonical_json(), None))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_whole(backend: str) -> None:
    attn = flashgen.compile(biased())
    q, k, v = qkv(dv=24)
    inputs = inputs_of_biased(q, k)

    def layer(q: Tensor, k: Tensor, v: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        out, lse = attn(2 * q, k, v, return_lse=True, **inputs)
        return out * lse.unsqueeze(-1).exp()

    whole = torch.compile(layer, fullgraph=True, backend=backend)
    torch.testing.assert_close(whole(q, k, v, inputs), layer(q, k, v, inputs))


def test_a_new_length_is_not_compiled_anew() -> None:
    attn = flashgen.compile(plain())
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph

    layer = torch.compile(lambda q, k, v: attn(q, k, v), fullgraph=True, dynamic=True, backend=backend)
    for n in (8, 9, 31, 64, 100):
        q, k, v = qkv(nq=n, nk=n)
        torch.testing.assert_close(layer(q, k, v), attn(q, k, v))
    assert len(graphs) == 1


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = flashgen.compile(plain())

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attn(q, k, v)


def test_an_exported_graph_runs_in_another_process(tmp_path: Path) -> None:
    q, k, v = qkv()
    n, m = torch.export.Dim("n", min=2, max=4096), torch.export.Dim("m", min=2, max=4096)
    dims = {"q": {2: n}, "k": {2: m}, "v": {2: m}}
    torch.export.save(torch.export.export(Layer(), (q, k, v), dynamic_shapes=dims), tmp_path / "layer.pt2")
    q, k, v = qkv(nq=20, nk=30)
    torch.save((q, k, v, Layer()(q, k, v)), tmp_path / "case.pt")
    code = (
        "import sys, torch, flashgen\n"
        "q, k, v, out = torch.load(sys.argv[2])\n"
        "again = torch.export.load(sys.argv[1]).module()(q, k, v)\n"
        "assert torch.equal(out, again)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "layer.pt2"), str(tmp_path / "case.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_keys_means_zero_and_minus_infinity() -> None:
    out, lse = flashgen.compile(plain())(*qkv(nk=0), return_lse=True)
    assert torch.equal(out, torch.zeros(2, 4, 9, 16))
    assert torch.equal(lse, torch.full((2, 4, 9), -torch.inf))


@pytest.mark.parametrize("sizes", [{"nq": 0}, {"b": 0}, {"hq": 0}, {"b": 0, "nk": 0}], ids=str)
def test_nothing_asked_is_nothing_answered(sizes: dict[str, int]) -> None:
    q, k, v = qkv(**sizes)
    out, lse = flashgen.compile(plain())(q, k, v, return_lse=True)
    assert out.shape == (*q.shape[:3], 16)
    assert lse.shape == q.shape[:3]
