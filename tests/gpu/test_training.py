"""Training on the GPU: all that torch does around a forward and its backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case

from .helpers import CAUSAL
from .test_gradients import DROPPED, LEARNED

pytestmark = pytest.mark.gpu
Leaves = list[Tensor]


def leaves_of(spec: AttentionSpec, case: Case) -> tuple[Leaves, Tensor]:
    """q, k, v and what arrives at ``out``; the spec has no inputs."""
    q, k, v, _ = case.tensors(spec, "cuda")
    dout, _ = case.upstream(spec, "cuda")
    assert dout is not None
    return [x.requires_grad_() for x in (q, k, v)], dout


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return all(x.equal(y) for x, y in zip(found, expected, strict=True))


def test_memory_is_linear_in_the_lengths() -> None:
    n = 16384
    (q, k, v), dout = leaves_of(DROPPED, Case(1, 2, 2, n, n, "bf16"))
    attn = flashgen.compile(DROPPED)
    attn(q[:, :, :64], k, v, seed=1).sum().backward()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    attn(q, k, v, seed=1).backward(dout)
    assert torch.cuda.max_memory_allocated() - before < 12 * q.numel() * q.element_size()


def test_forward_and_backward_with_dropout_can_be_captured_in_a_graph() -> None:
    leaves, dout = leaves_of(DROPPED, Case(2, 4, 2, 200, 200, "bf16"))
    attn = flashgen.compile(DROPPED)
    seed = torch.zeros(1, dtype=torch.int64, device="cuda")

    def step(seed: int | Tensor) -> tuple[Tensor, ...]:
        out = attn(*leaves, seed=seed)
        return out, *torch.autograd.grad(out, leaves, dout)

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(seed)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(seed)
    for drawn in (7, 2**40 + 1):
        seed.fill_(drawn)
        graph.replay()
        assert same(captured, step(drawn))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_with_dropout_gives_equal_gradients(reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    leaves, dout = leaves_of(DROPPED, Case(2, 4, 2, 200, 200, "bf16"))
    attn = flashgen.compile(DROPPED)
    torch.manual_seed(5)
    expected = torch.autograd.grad(attn(*leaves), leaves, dout)
    torch.manual_seed(5)
    out = checkpoint(attn, *leaves, use_reentrant=reentrant)
    torch.randn(100, device="cuda")  # the generator goes on in between
    out.backward(dout)
    assert same(tuple(x.grad for x in leaves if x.grad is not None), expected)


def test_autocast_trains_fp32_weights() -> None:
    gen = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(2, 200, 256, device="cuda", generator=gen)
    weights = [torch.randn(256, 256, device="cuda", generator=gen) / 16 for _ in range(3)]
    attn = flashgen.compile(CAUSAL)

    def gradients(auto: bool) -> tuple[Tensor, ...]:
        own = [w.clone().requires_grad_() for w in weights]
        with torch.autocast("cuda", torch.bfloat16, enabled=auto):
            cast = (lambda t: t) if auto else (lambda t: t.bfloat16())
            heads = [
                torch.nn.functional.linear(cast(x), cast(w)).unflatten(-1, (4, 64)).transpose(1, 2)
                for w in own
            ]
            out = attn(*heads)
        assert out.dtype == torch.bfloat16
        return torch.autograd.grad(out.float().square().sum(), own)

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())


@pytest.mark.parametrize("spec", [CAUSAL, DROPPED], ids=lambda s: s.name)
def test_compiled_whole_with_its_backward(spec: AttentionSpec) -> None:
    leaves, dout = leaves_of(spec, Case(2, 4, 2, 200, 200, "bf16"))
    attn = flashgen.compile(spec)
    seed = {"seed": torch.tensor([9], device="cuda")} if spec.dropout else {}

    def layer(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = attn(2 * q, k, v, return_lse=True, **seed)
        return 3 * out, lse.exp()

    def gradients(run) -> tuple[Tensor, ...]:
        out, weight = run(*leaves)
        return torch.autograd.grad((out, weight), leaves, (dout, torch.full_like(weight, 1e-3)))

    found = gradients(torch.compile(layer, fullgraph=True))
    for x, expected in zip(found, gradients(layer), strict=True):
        torch.testing.assert_close(x, expected, rtol=2e-2, atol=2e-2)


def test_compiled_whole_with_learned_inputs() -> None:
    q, k, v, inputs = Case(2, 4, 2, 130, 130, "bf16").tensors(LEARNED, "cuda")
    leaves = {n: x.contiguous().requires_grad_() for n, x in {"q": q, "k": k, "v": v, **inputs}.items()}
    attn = flashgen.compile(LEARNED)

    def gradients(run) -> tuple[Tensor, ...]:
        return torch.autograd.grad(run(**leaves).float().square().sum(), list(leaves.values()))

    found = gradients(torch.compile(lambda **given: attn(**given), fullgraph=True))
    for x, expected in zip(found, gradients(attn), strict=True):
        torch.testing.assert_close(x, expected, rtol=2e-2, atol=2e-2)


def test_opcheck() -> None:
    from flashgen.runtime import op

    q, k, v, inputs = Case(1, 2, 1, 40, 33, "bf16").tensors(LEARNED, "cuda")
    tensors = [x.contiguous().requires_grad_() for x in (q, k, v, *inputs.values())]
    torch.library.opcheck(op.attention, (*tensors[:3], tensors[3:], LEARNED.canonical_json(), None))


def test_training_lowers_the_loss() -> None:
    """All gradients at once, as an optimiser uses them: the inputs are found that made a given result."""
    q, k, v, inputs = Case(2, 4, 2, 128, 128, "fp32").tensors(LEARNED, "cuda")
    attn = flashgen.compile(LEARNED)
    with torch.no_grad():
        goal = attn(q, k, v, **inputs)
    found = {n: torch.zeros_like(x).contiguous().requires_grad_() for n, x in inputs.items()}
    optimiser = torch.optim.Adam(found.values(), lr=0.02)
    losses = []
    for _ in range(200):
        optimiser.zero_grad()
        loss = (attn(q, k, v, **found) - goal).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
