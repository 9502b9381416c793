"""Gradients on the GPU against the oracle's, and the mask of dropout against its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as from_seed
from hypothesis import strategies as st

from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, check_dropout, check_gradients
from flashgen.verify.inputs import ARRIVING, DISTRIBUTIONS, LAYOUTS
from flashgen.verify.run import compiled_backward
from flashgen.verify.specs import cases, specs

from .helpers import CAUSAL, LOCAL, poison

pytestmark = pytest.mark.gpu
DROPPED = AttentionSpec(name="dropped_like", head_dim=64, mask="causal", dropout=0.2)
LEARNED = AttentionSpec(
    name="learned_like",
    head_dim=64,
    score="softcap(s, 20.0) + table[h, t5_bucket(k - qpos)] + slopes[h] * (k - qpos) + shift[b, k]",
    mask="window(200, 0)",
    sink="sinks[h]",
    inputs={
        "table": {"shape": ["heads", 32], "grad": True},
        "slopes": {"shape": ["heads"], "grad": True},
        "shift": {"shape": ["batch", "seqlen_k"], "grad": True},
        "sinks": {"shape": ["heads"], "grad": True},
    },
)
BIASED = AttentionSpec(
    name="biased_like",
    head_dim=64,
    score="s + bias[b, h, q, k]",
    dropout=0.3,
    inputs={"bias": {"shape": ["batch", "heads", "seqlen_q", "seqlen_k"], "grad": True}},
)
SPECS = {"causal": CAUSAL, "local": LOCAL, "dropped": DROPPED, "learned": LEARNED}
SHORT = 100


def trained(name: str) -> AttentionSpec:
    """A spec of the gallery with whole numbers that matter to sequences of a few hundred, and with every
    input learned that can be."""
    spec = load_spec(gallery()[name])
    constants = {n: min(x, SHORT) if isinstance(x, int) else x for n, x in spec.constants.items()}
    inputs = {n: {**i.model_dump(), "grad": i.dtype == "float"} for n, i in spec.inputs.items()}
    return spec.replace(constants=constants, inputs=inputs)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("name", gallery())
def test_gallery(name: str, dtype: str) -> None:
    spec = trained(name)
    if dtype not in spec.dtypes:
        pytest.skip(f"{name} is not for {dtype}")
    heads = (spec.heads.q, spec.heads.kv) if spec.heads else (4, 2)
    through = "both" if dtype == "bf16" else "out"  # each is a schedule of its own
    for seed, distribution in enumerate(("randn", "negative", "huge", "one_hot")):
        sizes = ((300, 300), (257, 333))[seed % 2]
        case = Case(2, *heads, *sizes, dtype, distribution, seed=seed, through=through)
        assert check_gradients(spec, case, "cuda") == [], distribution


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", SPECS)
def test_fp32_whatever_the_logits(name: str, distribution: str) -> None:
    case = Case(2, 4, 2, 200, 170, "fp32", distribution, through="both")
    assert check_gradients(SPECS[name], case, "cuda") == []


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "sizes", [(1, 1), (9, 13), (63, 65), (129, 1), (1, 129), (300, 40), (40, 300)], ids=str
)
@pytest.mark.parametrize("name", SPECS)
def test_lengths_that_do_not_divide_and_differ(name: str, sizes: tuple[int, int], dtype: str) -> None:
    assert check_gradients(SPECS[name], Case(2, 4, 2, *sizes, dtype), "cuda") == []


@pytest.mark.parametrize("sizes", [(1, 0, 5), (1, 5, 0), (0, 5, 5), (1, 0, 0)], ids=str)
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("through", ["out", "both"])
def test_empty_sizes(name: str, sizes: tuple[int, int, int], through: str) -> None:
    batch, n_q, n_k = sizes
    assert check_gradients(SPECS[name], Case(batch, 2, 1, n_q, n_k, "bf16", through=through), "cuda") == []


@pytest.mark.parametrize("through", ["out", "lse", "both"])
@pytest.mark.parametrize("name", SPECS)
def test_gradients_arrive_at_either_result(name: str, through: str) -> None:
    assert check_gradients(SPECS[name], Case(2, 4, 2, 200, 170, "bf16", through=through), "cuda") == []


@pytest.mark.parametrize("layout", ARRIVING)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_layout_of_the_arriving_gradient(layout: str, dtype: str) -> None:
    for seed in (0, 1):  # dlse in two layouts
        case = Case(2, 4, 2, 130, 130, dtype, dout=layout, through="both", seed=seed)
        assert check_gradients(CAUSAL, case, "cuda") == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_tensors(layout: str) -> None:
    case = Case(3, 4, 2, 200, 200, "bf16", layouts=(layout,) * 3, dout=layout)
    assert check_gradients(CAUSAL, case, "cuda") == []


@pytest.mark.parametrize("dims", [(16, 16), (72, 40), (96, 96), (128, 128), (192, 128), (256, 256)], ids=str)
def test_head_dims(dims: tuple[int, int]) -> None:
    spec = AttentionSpec(name="x", head_dim={"qk": dims[0], "v": dims[1]}, mask="causal")
    for dtype in ("bf16", "fp32"):
        assert check_gradients(spec, Case(1, 2, 1, 150, 150, dtype), "cuda") == []


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63 - 1])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_the_mask_of_dropout_is_exact(dtype: str, seed: int) -> None:
    for n_q, n_k in ((130, 257), (257, 130)):
        assert check_dropout(BIASED, Case(2, 3, 3, n_q, n_k, dtype, dropout=seed), "cuda") == []


@pytest.mark.parametrize("tile", [(32, 64), (64, 32), (128, 64), (64, 128)], ids=str)
def test_the_mask_of_dropout_does_not_depend_on_tiles(tile: tuple[int, int]) -> None:
    assert check_dropout(BIASED, Case(2, 2, 2, 130, 257, "bf16", tile=tile, dropout=77), "cuda") == []


@pytest.mark.parametrize("number", range(6))
def test_random_specs(number: int) -> None:
    @from_seed(number)
    @settings(
        max_examples=2, deadline=None, database=None,  # the first is always the simplest
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def drawn(data: st.DataObject) -> None:
        spec = data.draw(specs(("bf16", "fp32"), training=True))
        dtype = data.draw(st.sampled_from(spec.dtypes))
        for _ in range(3):
            case = replace(data.draw(cases(spec, (dtype,), 300)), poison=False)
            assert check(spec, case, "cuda") == []
            assert check_gradients(spec, case, "cuda") == []

    drawn()


@pytest.mark.parametrize("name", SPECS)
def test_250_repeats_are_equal_bit_for_bit(name: str) -> None:
    spec = SPECS[name]
    case = Case(2, 4, 2, 500, 500, "bf16", dropout=5)
    given = (*case.tensors(spec, "cuda"), *case.upstream(spec, "cuda"), case.seed_of(spec))
    first = compiled_backward(spec, *given)
    for i in range(250):
        if i % 50 == 0:  # an element that no kernel writes shows
            torch.cuda.empty_cache()
            poison(*(tuple(x.shape) for x in first.values()), dtype=torch.float32)
        again = compiled_backward(spec, *given)
        assert all(again[n].equal(x) for n, x in first.items())
