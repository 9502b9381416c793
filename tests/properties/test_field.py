"""Bugs that attention kernels really had (forward): each a test, on the program and on the Triton kernel."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import flashgen
from flashgen.errors import TensorError
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check
from flashgen.verify.inputs import LAYOUTS
from flashgen.verify.oracle import truth
from flashgen.verify.probes import mask_bits
from flashgen.verify.run import program

LENGTH = {"length": {"shape": ["batch"], "dtype": "int"}}
FULL = AttentionSpec(name="x", head_dim=16)
CAUSAL = AttentionSpec(name="x", head_dim=16, mask="causal")
PADDED = AttentionSpec(name="x", head_dim=16, mask="k < length[b]", inputs=LENGTH)


@pytest.fixture(params=["program", "triton-interpreted"])
def agrees(request):
    """Asserts that a spec is right on a case, in small tiles."""

    def assert_right(spec: AttentionSpec, *args: object, **kwargs: object) -> None:
        case = Case(*args, tile=kwargs.pop("tile", (16, 16)), **kwargs)
        run = program(case.tile) if request.param == "program" else request.param
        assert check(spec, case, run) == []

    return assert_right


@pytest.mark.parametrize("distribution", ["negative", "huge_negative", "huge"])
@pytest.mark.parametrize("mask", ["k >= 40", "~(k < 40) & causal", "window(3, 0)"])
def test_first_tiles_fully_masked_and_all_later_logits_negative(agrees, mask, distribution) -> None:
    agrees(AttentionSpec(name="x", head_dim=16, mask=mask), 1, 2, 1, 60, 60, "fp32", distribution)


@pytest.mark.parametrize("mask", ["causal & (q >= 20)", "(k < 0) | (q % 2 == 0)", "k + 20 <= qpos"])
def test_rows_that_see_nothing_are_zero_with_lse_minus_infinity(agrees, mask: str) -> None:
    agrees(AttentionSpec(name="x", head_dim=16, mask=mask), 1, 2, 1, 40, 40, "fp16")


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_nan_and_infinities_in_padding_are_never_seen(agrees, dtype: str) -> None:
    for seed in range(4):
        agrees(PADDED, 3, 2, 1, 20, 37, dtype, poison=True, seed=seed)


@pytest.mark.parametrize("sizes", [(1, 0, 5), (1, 5, 0), (0, 5, 5), (1, 0, 0), (2, 1, 1)])
@pytest.mark.parametrize("spec", [FULL, CAUSAL, PADDED], ids=["full", "causal", "padded"])
def test_empty_sizes(agrees, spec, sizes) -> None:
    batch, n_q, n_k = sizes
    agrees(spec, batch, 2, 1, n_q, n_k)


@pytest.mark.parametrize(("n_q", "n_k"), [(20, 50), (50, 20), (1, 33), (33, 1)])
@pytest.mark.parametrize("mask", ["causal", "causal_top_left", "window(9, 4)"])
def test_masks_are_aligned_when_lengths_differ(agrees, mask, n_q, n_k) -> None:
    agrees(AttentionSpec(name="x", head_dim=16, mask=mask), 1, 1, 1, n_q, n_k, "fp32", "zero_q")


@pytest.mark.parametrize("left", [0, 1, 15, 16, 17, 31, 32])
def test_a_window_is_exact_to_the_key(left: int) -> None:
    spec = AttentionSpec(name="x", head_dim=16, mask=f"window({left}, {left // 2})")
    for n_q, n_k in ((48, 48), (33, 65), (65, 33)):
        case = Case(1, 1, 1, n_q, n_k)
        seen, count = mask_bits(program((16, 16)), spec, case)
        visible = truth(spec, *case.tensors(spec)).visible
        assert seen.equal(visible)
        assert count.round().long().equal(visible.sum(-1))


def test_every_layout_of_every_tensor_on_the_program() -> None:
    for layouts in product(LAYOUTS, repeat=3):
        assert check(CAUSAL, Case(2, 2, 1, 9, 20, layouts=layouts), program((16, 16))) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(agrees, layout: str) -> None:
    agrees(CAUSAL, 2, 4, 2, 20, 20, "fp16", layouts=(layout,) * 3)


@pytest.mark.parametrize("d", range(8, 257, 8))
def test_every_head_dim_and_different_ones_for_values(d: int) -> None:
    for dims in ({"qk": d, "v": d}, {"qk": d, "v": 264 - d}):
        spec = AttentionSpec(name="x", head_dim=dims, mask="causal")
        assert check(spec, Case(1, 2, 1, 20, 20, "bf16"), program((16, 16))) == []


@pytest.mark.parametrize("dims", [(8, 8), (24, 40), (96, 96), (120, 72), (192, 128), (256, 256)])
def test_head_dims_on_the_kernel(dims: tuple[int, int]) -> None:
    spec = AttentionSpec(name="x", head_dim={"qk": dims[0], "v": dims[1]}, mask="causal")
    assert check(spec, Case(1, 1, 1, 20, 20, "fp16", tile=(16, 16)), "triton-interpreted") == []


def test_heads_that_do_not_divide_are_refused() -> None:
    q, kv = torch.randn(1, 3, 4, 16), torch.randn(1, 2, 4, 16)
    with pytest.raises(TensorError, match="multiple"):
        flashgen.compile(FULL)(q, kv, kv)


def test_grouped_heads_equal_repeated_keys_and_values() -> None:
    attn = flashgen.compile(CAUSAL)
    q, k, v, _ = Case(2, 6, 2, 20, 20, "fp64").tensors(CAUSAL)
    repeated = attn(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1))
    torch.testing.assert_close(attn(q, k, v), repeated, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [{"constants": {"n": 4}}, {"mask": "k < n + 1"}, {"score": "s * 2.0"}, {"scale": 0.5}],
    ids=["constant", "mask", "score", "scale"],
)
def test_specs_that_differ_in_one_thing_do_not_share_a_kernel(changes: dict[str, object]) -> None:
    one = AttentionSpec(name="x", head_dim=16, mask="k < n", constants={"n": 3})
    other = one.replace(**changes)
    q, k, v, _ = Case(1, 1, 1, 8, 8, "fp64").tensors(one)
    assert not torch.allclose(flashgen.compile(one)(q, k, v), flashgen.compile(other)(q, k, v))
    assert check(one, Case(1, 1, 1, 8, 8)) == check(other, Case(1, 1, 1, 8, 8)) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fake_results_have_the_strides_of_real_ones(layout: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    q, k, v, _ = Case(2, 4, 2, 9, 9, layouts=(layout,) * 3).tensors(CAUSAL)
    attn = flashgen.compile(CAUSAL)
    real = attn(q, k, v, return_lse=True)
    with FakeTensorMode() as mode:
        fake = attn(*(mode.from_tensor(x) for x in (q, k, v)), return_lse=True)
    for f, r in zip(fake, real, strict=True):
        assert (f.shape, f.stride(), f.dtype) == (r.shape, r.stride(), r.dtype)


def test_an_extra_batch_entry_changes_nothing_of_the_others() -> None:
    q, k, v, _ = Case(3, 2, 1, 33, 33, "fp32").tensors(CAUSAL)
    run = program((16, 16))
    together, _ = run(CAUSAL, q, k, v, {})
    alone, _ = run(CAUSAL, q[:1], k[:1], v[:1], {})
    torch.testing.assert_close(together[:1], alone, rtol=1e-6, atol=1e-6)
