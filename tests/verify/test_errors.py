"""The test of the tests: an honest implementation passes everywhere, a planted bug is found."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check, measure, verify
from flashgen.verify.inputs import DISTRIBUTIONS
from flashgen.verify.specs import cases, specs

from .mutants import BUGS, flash

LOCAL = AttentionSpec(name="local", head_dim=16, mask="window(40, 0)")
PADDED = AttentionSpec(
    name="padded",
    head_dim=16,
    mask="(k < length[b]) & causal",
    inputs={"length": {"shape": ["batch"], "dtype": "int"}},
)
CAPPED = AttentionSpec(
    name="capped",
    head_dim=32,
    score="softcap(s, 20.0) + slopes[h] * (k - qpos)",
    mask="causal",
    inputs={"slopes": {"shape": ["heads"], "dtype": "float"}},
)
SPECS = (LOCAL, PADDED, CAPPED)


@given(st.data())
def test_an_honest_implementation_passes_on_random_specs_and_cases(data: st.DataObject) -> None:
    spec = data.draw(specs(rows=("softmax",)))
    case = data.draw(cases(spec, spec.dtypes, 130))
    assert check(spec, case, flash) == []


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "fp64"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_an_honest_implementation_passes_on_long_rows(spec, dtype, distribution) -> None:
    for seed in range(3):
        case = Case(2, 4, 2, 129, 500, dtype, distribution, seed=seed)
        assert check(spec, case, flash) == []


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.usefixtures("same_cases")
def test_a_planted_bug_is_found(bug: str, dtype: str) -> None:
    if bug == "p_in_bf16" and dtype == "fp32":
        pytest.skip("covered by fp16, the harder case")
    run = partial(flash, bug=bug)
    found = (
        verify(_only(spec, dtype), run, examples=60, seed=i, shrink=False) for i, spec in enumerate(SPECS)
    )
    assert not all(report.passed for report in found)


def _only(spec: AttentionSpec, dtype: str) -> AttentionSpec:
    return spec.replace(dtypes=(dtype,))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("bug", ["sees_one_more", "sees_one_less"])
def test_one_key_too_many_or_too_few_is_seen_in_every_distribution_that_shows_it(bug, dtype) -> None:
    for distribution in ("randn", "negative", "constant", "zero_q"):
        case = Case(1, 2, 1, 129, 129, dtype, distribution)
        findings = check(LOCAL, case, partial(flash, bug=bug))
        assert {f.tensor for f in findings} == {"out", "lse"} or (distribution == "constant" and findings)


@pytest.mark.parametrize("bug", ["max_from_zero", "mask_after_max"])
def test_a_wrong_row_maximum_shows_when_logits_are_all_negative(bug: str) -> None:
    run = partial(flash, bug=bug)
    shown = [d for d in DISTRIBUTIONS if check(LOCAL, Case(1, 1, 1, 64, 64, "fp32", d), run)]
    assert "huge_negative" in shown
    assert "randn" not in shown  # which is why there are several distributions


def test_the_failing_case_is_shrunk_and_its_reproducer_runs() -> None:
    report = verify(LOCAL, partial(flash, bug="sees_one_less"), examples=50)
    assert report.failure
    case = report.failure.case
    assert case.heads == case.kv_heads == 1
    assert max(case.seqlen_q, case.seqlen_k) <= 2
    compile(report.failure.reproducer, "reproducer", "exec")
    assert repr(case.seqlen_k) in report.failure.reproducer or case.seqlen_k == 1


def test_an_exception_of_the_backend_is_a_failure_with_a_case() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of resource")

    report = verify(LOCAL, broken, examples=5)  # type: ignore[arg-type]
    assert report.failure
    assert "out of resource" in report.failure.problems[0]


def test_measures_are_largest_mean_and_worst_row() -> None:
    got = torch.tensor([[1.0, 1.0], [4.0, -torch.inf]])
    true = torch.tensor([[1.0, 1.0], [1.0, -torch.inf]])
    found = measure(got, true)
    assert (found.max, found.mean) == (3.0, 0.75)
    assert found.row_rms == pytest.approx((9 / 2) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float64])
def test_a_wrong_output_dtype_is_found(dtype: torch.dtype) -> None:
    def run(*args: object) -> tuple[torch.Tensor, torch.Tensor]:
        out, lse = flash(*args)  # type: ignore[arg-type]
        return out.to(dtype), lse

    assert check(LOCAL, Case(seqlen_q=3, seqlen_k=3), run)
