"""Distributions and layouts are what their names say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case
from flashgen.verify.inputs import DISTRIBUTIONS, LAYOUTS
from flashgen.verify.oracle import scale_of
from flashgen.verify.specs import cases, specs

SPEC = AttentionSpec(name="x", head_dim=16)


def logits(distribution: str, dtype: str = "fp32") -> torch.Tensor:
    q, k, _, _ = Case(1, 2, 2, 40, 40, dtype, distribution).tensors(SPEC)
    return scale_of(SPEC) * q.double() @ k.double().mT


def test_logits_are_distributed_as_named() -> None:
    assert logits("negative").max() < 0
    assert logits("huge").abs().max().item() == pytest.approx(2.5e5, rel=1e-2)
    assert logits("huge_negative").min().item() == pytest.approx(-2.5e5, rel=1e-2)
    assert logits("huge_negative").max() < 0
    assert logits("constant").unique().numel() == 1
    assert (logits("zero_q") == 0).all()
    assert (logits("one_hot").softmax(-1).amax(-1) > 0.3).all()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_half_tensors_stay_finite(distribution: str, dtype: str) -> None:
    assert logits(distribution, dtype).isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_strides_and_nothing_else(layout: str) -> None:
    x = torch.randn(2, 3, 5, 8)
    y = LAYOUTS[layout](x)
    assert y.equal(x) or (layout == "broadcast" and y.equal(x[:1].expand(x.shape)))
    assert y.stride(-1) == 1
    assert y.is_contiguous() == (layout == "contiguous")


def test_tensors_outside_a_slice_are_nan() -> None:
    x = LAYOUTS["sliced"](torch.zeros(1, 1, 2, 8))
    assert x._base is not None
    assert x._base.isnan().any()


@given(st.data())
def test_a_case_is_the_same_every_time_and_fits_its_spec(data: st.DataObject) -> None:
    spec = data.draw(specs())
    case = data.draw(cases(spec, spec.dtypes, 33))
    first, again = case.tensors(spec), Case.from_json(case.to_json()).tensors(spec)
    for x, y in zip((*first[:3], *first[3].values()), (*again[:3], *again[3].values()), strict=True):
        assert x.shape == y.shape
        assert x.stride() == y.stride()
        assert x.nan_to_num().equal(y.nan_to_num())
    for name, x in first[3].items():
        shape = [n if isinstance(n, int) else case.sizes()[n] for n in spec.inputs[name].shape]
        assert list(x.shape) == shape


def test_poison_lies_past_the_bound_and_nowhere_else() -> None:
    spec = AttentionSpec(
        name="x",
        head_dim=8,
        mask="(k < length[b]) & causal",
        inputs={"length": {"shape": ["batch"], "dtype": "int"}},
    )
    hit = 0
    for seed in range(10):
        _, k, _, inputs = Case(2, 2, 1, 9, 9, poison=True, seed=seed).tensors(spec)
        for b, length in enumerate(inputs["length"].tolist()):
            assert k[b, :, : max(length, 0)].isfinite().all()
            assert not k[b, :, max(length, 0) :].isfinite().any()
            hit += length < 9
    assert hit
