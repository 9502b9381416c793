"""``flashgen.Attention``, a spec as a module of torch."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn

import flashgen

SPEC = flashgen.AttentionSpec(
    name="layered",
    head_dim=16,
    score="s + slopes[h] * (k - qpos) + bias[q, k]",
    mask="causal",
    inputs={"slopes": {"shape": ["heads"], "grad": True}, "bias": {"shape": ["seqlen_q", "seqlen_k"]}},
    dropout=0.5,
)


def layer() -> flashgen.Attention:
    torch.manual_seed(0)
    return flashgen.Attention(SPEC, slopes=nn.Parameter(torch.rand(2)), bias=torch.randn(9, 9))


def tensors() -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return torch.randn(3, 2, 2, 9, 16).unbind()


def test_it_computes_what_the_spec_does_and_learns() -> None:
    module, (q, k, v) = layer(), tensors()
    out = module(q, k, v, seed=5)
    given = {"slopes": module.slopes.detach(), "bias": module.bias}
    assert torch.equal(out, flashgen.compile(SPEC)(q, k, v, seed=5, **given))
    out.sum().backward()
    assert module.slopes.grad is not None
    assert [n for n, _ in module.named_parameters()] == ["slopes"]


def test_it_stands_in_a_sequence_and_drops_in_training_only() -> None:
    class Project(nn.Linear):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return super().forward(x).unflatten(-1, (3, 2, 16)).transpose(1, 3).unbind(2)

    model = nn.Sequential(Project(8, 96), layer(), nn.Flatten(2))
    x = torch.randn(2, 9, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    assert (
        "(1): Attention(layered, head_dim=16, score='s + slopes[h] * (k - qpos) + bias[q, k]', mask='causal'"
        in (repr(model))
    )


def test_what_it_prints_says_where_inputs_come_from() -> None:
    module = flashgen.Attention(SPEC, slopes=nn.Parameter(torch.rand(2)))
    assert repr(module).endswith("dropout=0.5, slopes=[2], bias=[seqlen_q, seqlen_k] at each call)")
    q, k, v = tensors()
    assert module((q, k, v), bias=torch.zeros(9, 9), seed=1).shape == q.shape


def test_it_is_saved_copied_and_moved() -> None:
    module, (q, k, v) = layer(), tensors()
    module(q, k, v, seed=5)
    kept = io.BytesIO()
    torch.save(module.state_dict(), kept)
    kept.seek(0)
    other = flashgen.Attention(SPEC, slopes=nn.Parameter(torch.zeros(2)), bias=torch.zeros(9, 9))
    other.load_state_dict(torch.load(kept))
    for again in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(again(q, k, v, seed=5), module(q, k, v, seed=5))
        assert again.slopes is not module.slopes
    assert {t.device.type for t in module.to("meta").held.values()} == {"meta"}


def test_lse_comes_as_asked() -> None:
    out, lse = flashgen.Attention("causal", return_lse=True)(torch.randn(3, 1, 2, 5, 128).unbind())
    assert (out.shape, lse.shape) == ((1, 2, 5, 128), (1, 2, 5))


def test_mistakes_are_named() -> None:
    q, k, _ = tensors()
    for given, said in (
        ({"slope": torch.rand(2)}, "slope is not an input of layered: it takes slopes, bias"),
        ({"slopes": 1.0}, "slopes is a float; expected a torch.Tensor"),
        ({"bias": nn.Parameter(torch.rand(9, 9))}, "bias requires grad, and layered does not declare it"),
    ):
        with pytest.raises(flashgen.TensorError, match=said):
            flashgen.Attention(SPEC, **given)
    with pytest.raises(flashgen.TensorError, match="k is missing: expected q, k, v"):
        layer()(q)
    with pytest.raises(flashgen.TensorError, match=r"q is a tuple of 2; expected q, k, v, or one tuple"):
        layer()((q, k))
    half = SPEC.replace(score="s + half[h]", inputs={"half": {"shape": ["heads"]}})
    with pytest.raises(flashgen.TensorError, match="half is an attribute of every"):
        flashgen.Attention(half, half=torch.rand(2))
