"""The test of the tests, for gradients: an honest backward passes everywhere, a planted bug is found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check_gradients, verify
from flashgen.verify.errors import independent_errors, is_dense
from flashgen.verify.inputs import ARRIVING, DISTRIBUTIONS
from flashgen.verify.specs import cases, specs

from .gradient_mutants import BUGS, flash_backward
from .mutants import flash

ALL = ("fp32", "fp16", "bf16", "fp64")
LOCAL = AttentionSpec(name="local", head_dim=16, mask="window(20, 0)")
DROPPED = AttentionSpec(name="dropped", head_dim=16, mask="causal", dropout=0.25)
BIASED = AttentionSpec(
    name="biased",
    head_dim={"qk": 24, "v": 16},
    score="where(k < 20, softcap(s, 5.0), 0.5 * s) * temperature[hkv] + slopes[h] * (k - qpos) + bias[k]",
    inputs={
        "temperature": {"shape": ["kv_heads"], "grad": True},
        "slopes": {"shape": ["heads"], "grad": True},
        "bias": {"shape": ["seqlen_k"], "grad": True},
    },
)
SUNK = AttentionSpec(
    name="sunk",
    head_dim=16,
    mask="causal & (k % 3 != 1)",
    sink="sinks[h]",
    inputs={"sinks": {"shape": ["heads"], "grad": True}},
)
SPECS = (LOCAL, DROPPED, BIASED, SUNK)
SHOWN_BY = (
    Case(2, 4, 2, 40, 40, through="both"),
    Case(2, 4, 2, 40, 70, distribution="negative", through="both", seed=1),
    Case(2, 4, 2, 70, 40, through="out", seed=2),
)


@given(st.data())
def test_an_honest_backward_passes_on_random_specs_and_cases(data: st.DataObject) -> None:
    spec = data.draw(specs(ALL, training=True, rows=("softmax",)))
    case = data.draw(cases(spec, ALL, 130))
    assert check_gradients(spec, case, flash_backward) == []


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_rounding_counts_where_a_tanh_is_near_either_end(sign: str, dtype: str) -> None:
    spec = AttentionSpec(name="x", head_dim=16, score=f"{sign}softcap(min({sign}s, 4.0) + 0.25, 20.0)")
    assert check_gradients(spec, Case(1, 1, 1, 31, 31, dtype, "huge")) == []


def test_one_dp_for_all_pairs_is_one_rounding() -> None:
    spec = AttentionSpec(name="x", head_dim=72, score="s - 0.03125 * abs(k - qpos)", sink="0.5")
    for seed in range(40):
        case = Case(1, 1, 1, 8, 8, "fp32", "constant", dout="expanded", tile=(16, 16), seed=seed)
        assert check_gradients(spec, case, flash_backward) == []


def test_equal_rows_are_counted_once() -> None:
    q, v = torch.zeros(2, 4, 5, 8), torch.randn(2, 2, 7, 8)
    dout = torch.randn(2, 4, 5, 8)
    assert independent_errors(q, v, None) == independent_errors(q, v, dout) == 40
    assert independent_errors(q, v, dout[:1, :1, :1].expand_as(dout)) == 28
    assert independent_errors(q, v[:1, :1, :1].expand_as(v), dout[:, :1, :1].expand_as(dout)) == 2


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_an_honest_backward_passes_on_long_rows(spec, dtype, distribution) -> None:
    for seed, (n_q, n_k, dout) in enumerate(((17, 260, "contiguous"), (130, 17, "expanded"))):
        case = Case(2, 4, 2, n_q, n_k, dtype, distribution, seed=seed, through="both", dout=dout)
        assert check_gradients(spec, case, flash_backward) == []


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.usefixtures("same_cases")
def test_a_planted_bug_is_found(bug: str, dtype: str) -> None:
    if bug == "ds_in_bf16" and dtype != "fp16":
        pytest.skip("fp16 is the harder case, and in bf16 it is no bug")
    run = partial(flash_backward, bug=bug)
    assert any(check_gradients(s, replace(c, dtype=dtype), run) for s in SPECS for c in SHOWN_BY)


@pytest.mark.parametrize("dout", ARRIVING)
@pytest.mark.parametrize("bug", ["no_delta", "group_not_summed", "no_score_slope"])
@pytest.mark.usefixtures("same_cases")
def test_bugs_show_however_the_arriving_gradient_lies_in_memory(bug: str, dout: str) -> None:
    case = replace(SHOWN_BY[0], dout=dout)
    assert any(check_gradients(spec, case, partial(flash_backward, bug=bug)) for spec in SPECS)
    assert not any(check_gradients(spec, case, flash_backward) for spec in SPECS)


def test_what_a_missing_gradient_of_lse_would_show_is_shown() -> None:
    run = partial(flash_backward, bug="no_dlse")
    assert not check_gradients(LOCAL, Case(1, 2, 1, 9, 9, through="out"), run)
    for through in ("lse", "both"):
        assert check_gradients(LOCAL, Case(1, 2, 1, 9, 9, through=through), run)


def test_dtype_shape_strides_nan_and_names_are_judged() -> None:
    def changed(change):
        def run(*args, **kwargs):
            return change(flash_backward(*args, **kwargs))

        return run

    def said(change) -> str:
        return "; ".join(map(str, check_gradients(SUNK, Case(2, 2, 1, 6, 6, "fp16"), changed(change))))

    assert said(lambda g: g) == ""
    assert "dq: dtype torch.float32" in said(lambda g: g | {"dq": g["dq"].float()})
    assert "dk: shape (2, 2, 6, 16)" in said(lambda g: g | {"dk": g["dk"].repeat(1, 2, 1, 1)})
    assert "dv: strides" in said(lambda g: g | {"dv": torch.cat((g["dv"],) * 2, -1)[..., :16]})
    assert "dsinks: no gradient" in said(lambda g: {n: x for n, x in g.items() if n != "dsinks"})
    assert "dmask: unexpected" in said(lambda g: g | {"dmask": g["dq"]})
    assert "dq: nan instead of" in said(lambda g: g | {"dq": g["dq"] * torch.nan})


def test_dense_means_no_gaps_and_no_overlaps() -> None:
    x = torch.zeros(2, 3, 4)
    assert is_dense(x)
    assert is_dense(x.permute(2, 0, 1))
    assert is_dense(x[:1])
    assert is_dense(x[:0])
    assert not is_dense(x[:, :2])
    assert not is_dense(x[..., :1].expand(2, 3, 4))


def test_the_search_finds_and_shrinks_wrong_gradients() -> None:
    report = verify(LOCAL, flash, examples=40, gradients=partial(flash_backward, bug="no_delta"))
    assert report.failure
    assert all(p.startswith(("dq", "dk")) for p in report.failure.problems)
    assert max(report.failure.case.seqlen_q, report.failure.case.seqlen_k) <= 2
    assert "check_gradients" in report.failure.reproducer
    compile(report.failure.reproducer, "reproducer", "exec")
    assert verify(LOCAL, flash, examples=10, gradients=False).passed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [(63, 63), (64, 64), (100, 60)])
def test_equal_rows_make_equal_errors(rows: tuple[int, int], seed: int) -> None:
    """Rows of Q and dO that are all one row are off alike, so dK is off by as often as much."""
    case = Case(1, 1, 1, *rows, "fp32", "constant", tile=(16, 16), seed=seed, dout="expanded")
    assert check_gradients(AttentionSpec(name="plain", head_dim=16), case) == []


@pytest.mark.parametrize("layouts", [("contiguous", "contiguous", "broadcast"), ("broadcast",) * 3])
def test_keys_that_a_batch_shares_are_poisoned_where_no_entry_sees_them(layouts: tuple[str, ...]) -> None:
    length = {"length": {"shape": ["batch"], "dtype": "int"}}
    spec = AttentionSpec(name="after", head_dim=16, mask="~(k < length[b])", inputs=length)
    for seed in range(20):
        case = Case(2, 1, 1, 5, 3, "fp32", layouts=layouts, poison=True, seed=seed, tile=(16, 16))
        assert check_gradients(spec, case) == []


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_equal_pairs_make_equal_errors_of_what_they_share(dtype: str) -> None:
    """A table's gradient sums over pairs that are all off alike."""
    spec = AttentionSpec(
        name="relative",
        head_dim=32,
        score="softcap((s + relative[relative_index(5)]), 20.0)",
        inputs={"relative": {"shape": [11], "grad": True}},
        sink="0.5",
    )
    for seed in range(8):
        case = Case(1, 1, 1, 63, 197, dtype, "constant", tile=(0, 0), seed=seed, dout="expanded")
        assert check_gradients(spec, case) == []
