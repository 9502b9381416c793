"""The op on CUDA devices: the same checks as on the CPU, plus what only a device shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.runtime import launch, op
from flashgen.verify.oracle import oracle
from tests.runtime.specs import biased, inputs_of_biased, plain, qkv

pytestmark = pytest.mark.gpu


def on_gpu(*tensors: Tensor, dtype: torch.dtype = torch.bfloat16, device: str = "cuda") -> list[Tensor]:
    return [t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in tensors]


def expect(spec: flashgen.AttentionSpec, *tensors: Tensor, **inputs: Tensor) -> None:
    q, k, v = tensors
    out, lse = flashgen.compile(spec)(q, k, v, return_lse=True, **inputs)
    want, want_lse = oracle(spec, *(t.cpu() for t in tensors), {n: t.cpu() for n, t in inputs.items()})
    torch.testing.assert_close(out.double().cpu(), want.double(), atol=3e-2, rtol=3e-2)
    torch.testing.assert_close(lse.cpu().double(), want_lse.double(), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("nq,nk", [(1, 1), (9, 13), (64, 200), (129, 65)])
def test_cuda_tensors_run_the_kernel(dtype: torch.dtype, nq: int, nk: int) -> None:
    q, k, v = on_gpu(*qkv(nq=nq, nk=nk, dv=24), dtype=dtype)
    inputs = {n: t.cuda() for n, t in inputs_of_biased(q.cpu(), k.cpu()).items()}
    expect(biased(), q, k, v, **inputs)


def test_opcheck() -> None:
    q, k, v = on_gpu(*qkv(dv=24))
    listed = [t.cuda() for t in inputs_of_biased(q.cpu(), k.cpu()).values()]
    torch.library.opcheck(op.attention, (q, k, v, listed, biased().canonical_json(), None))


def test_compiles_whole() -> None:
    attn = flashgen.compile(plain())
    q, k, v = on_gpu(*qkv())
    layer = torch.compile(lambda q: attn(2 * q, k, v).float().sum(-1), fullgraph=True)
    torch.testing.assert_close(layer(q), attn(2 * q, k, v).float().sum(-1), atol=1e-2, rtol=1e-2)


def test_few_kernels_serve_all_lengths() -> None:
    attn, before = flashgen.compile(plain()), launch.compilations
    lengths = (2, 3, 17, 99, 101, 1001, 2048, 3999, 5000, 16001)
    for n in lengths:
        attn(*on_gpu(*qkv(nq=n, nk=n + 1)))
    few = launch.compilations
    assert few - before <= 4
    for n in lengths:
        attn(*on_gpu(*qkv(nq=n - 1, nk=n)))
    assert launch.compilations == few


@pytest.mark.parametrize("n", [130, 4000])
def test_a_call_after_warming_compiles_nothing(n: int) -> None:
    attn = flashgen.compile(plain())
    attn.warm((2, 4, n, 16), (2, 2, n, 16), dtype=torch.bfloat16)
    before = launch.compilations
    q, k, v = (t.requires_grad_() for t in on_gpu(*qkv(nq=n, nk=n)))
    attn(q, k, v).sum().backward()
    assert launch.compilations == before


@pytest.mark.parametrize("offset", [0, 1])
def test_any_alignment_and_order_of_dims(offset: int) -> None:
    q, k, v = on_gpu(*qkv(nq=70, nk=70))
    room = torch.empty(q.numel() + offset, dtype=q.dtype, device="cuda")
    odd = room[offset:].view(2, 70, 4, 16).transpose(1, 2).copy_(q)
    assert flashgen.compile(plain())(odd, k, v).stride() == odd.stride()
    expect(plain(), odd, k, v)


def test_no_keys_and_no_queries() -> None:
    out, lse = flashgen.compile(plain())(*on_gpu(*qkv(nk=0)), return_lse=True)
    assert not out.any()
    assert torch.isneginf(lse).all()
    assert flashgen.compile(plain())(*on_gpu(*qkv(nq=0))).shape == (2, 4, 0, 16)


def test_the_tensors_device_counts_not_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two devices")
    tensors = on_gpu(*qkv(), device="cuda:1")
    with torch.cuda.device(0):
        expect(plain(), *tensors)
        assert torch.cuda.current_device() == 0


def test_calls_can_be_captured_in_a_graph() -> None:
    attn = flashgen.compile(plain())
    q, k, v = on_gpu(*qkv(nq=64, nk=64))
    want = attn(q, k, v)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attn(q, k, v)
    graph.replay()
    torch.testing.assert_close(out, want)
