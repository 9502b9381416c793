"""Sizes past what 32 bits and a grid's second axis hold."""

from __future__ import annotations

import pytest
import torch

import flashgen
from flashgen.errors import TensorError
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, judge, plain, truth

from .helpers import CAUSAL, far_apart

pytestmark = pytest.mark.gpu
FAR = 2**31 + 8  # elements


def needs_gib(gib: float) -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < gib * 2**30:
        pytest.skip(f"needs {gib} GiB of free GPU memory")


@pytest.mark.parametrize("moved", ["q", "k", "v"])
def test_batch_entries_further_apart_than_2_31_elements(moved: str) -> None:
    needs_gib(6)
    q, k, v, _ = Case(2, 2, 1, 100, 100, "bf16").tensors(CAUSAL, "cuda")
    tensors = {"q": q, "k": k, "v": v}
    expected = flashgen.compile(CAUSAL)(**tensors)
    tensors[moved] = far_apart(tensors[moved], FAR, 0)
    assert flashgen.compile(CAUSAL)(**tensors).equal(expected)


@pytest.mark.parametrize("moved", ["q", "k", "v"])
def test_rows_whose_offsets_pass_2_31(moved: str) -> None:
    needs_gib(11)
    q, k, v, _ = Case(1, 1, 1, 600, 600, "bf16").tensors(CAUSAL, "cuda")
    tensors = {"q": q, "k": k, "v": v}
    expected = flashgen.compile(CAUSAL)(**tensors)
    tensors[moved] = far_apart(tensors[moved], 2**22 * 2 - 8, 2)
    assert 599 * tensors[moved].stride(2) > 2 * 2**31
    assert flashgen.compile(CAUSAL)(**tensors).equal(expected)


def test_rows_too_far_apart_for_a_tile_are_refused() -> None:
    needs_gib(10)
    q, k, v, _ = Case(1, 1, 1, 128, 128, "bf16").tensors(CAUSAL, "cuda")
    far = far_apart(k, 2**25, 2)
    with pytest.raises(TensorError, match="32-bit"):
        flashgen.compile(CAUSAL)(q, far, v)


def test_a_bias_whose_offsets_pass_2_31() -> None:
    needs_gib(6)
    spec = AttentionSpec(
        name="biased",
        head_dim=64,
        score="s + bias[b, h, q, k]",
        inputs={"bias": {"shape": ["batch", "heads", "seqlen_q", "seqlen_k"]}},
    )
    q, k, v, inputs = Case(2, 2, 1, 100, 100, "bf16").tensors(spec, "cuda")
    expected = flashgen.compile(spec)(q, k, v, **inputs)
    bias = far_apart(inputs["bias"].bfloat16(), FAR, 0)
    expected = flashgen.compile(spec)(q, k, v, bias=bias.contiguous())
    assert flashgen.compile(spec)(q, k, v, bias=bias).equal(expected)


def test_more_than_2_31_elements_of_output_and_65536_heads() -> None:
    needs_gib(12)
    heads = 2**31 // (16 * 64) + 8
    q, k, v, _ = Case(1, 1, 1, 16, 16, "bf16").tensors(CAUSAL, "cuda")
    out, lse = flashgen.compile(CAUSAL)(q.expand(1, heads, 16, 64), k, v, return_lse=True)
    assert out.numel() > 2**31
    right = truth(CAUSAL, q, k, v)
    assert judge(out[:, -1:], lse[:, -1:], right, *plain(CAUSAL, q, k, v)) == []
    for lo in range(0, heads, 2**18):  # all heads computed the same
        assert (out[:, lo : lo + 2**18] == out[:, :1]).all()
    assert (lse == lse[:, :1]).all()


@pytest.mark.parametrize(("batch", "heads"), [(257, 256), (65_536, 1), (1, 65_537)])
def test_65536_and_more_batch_times_heads(batch: int, heads: int) -> None:
    spec = AttentionSpec(name="small", head_dim=16, mask="causal")
    assert check(spec, Case(batch, heads, heads, 17, 17, "fp16"), "cuda") == []


@pytest.mark.parametrize("sizes", [(1, 0, 5), (1, 5, 0), (0, 5, 5), (1, 0, 0), (1, 1, 1)])
def test_empty_sizes(sizes: tuple[int, int, int]) -> None:
    batch, n_q, n_k = sizes
    assert check(CAUSAL, Case(batch, 2, 1, n_q, n_k, "bf16"), "cuda") == []


def test_tensors_on_a_device_that_is_not_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    q, k, v, _ = Case(1, 2, 1, 100, 100, "bf16").tensors(CAUSAL, "cuda:1")
    with torch.cuda.device(0):
        out, lse = flashgen.compile(CAUSAL)(q, k, v, return_lse=True)
    assert out.device == lse.device == q.device
    assert judge(out, lse, truth(CAUSAL, q, k, v), *plain(CAUSAL, q, k, v)) == []
