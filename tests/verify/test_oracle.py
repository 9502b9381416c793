"""The oracle against others: torch's SDPA, eager FlexAttention, and loops over plain Python numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention as sdpa

from flashgen.expr.evaluate import evaluate_python
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, oracle, plain, truth
from flashgen.verify.oracle import scale_of
from flashgen.verify.specs import cases, specs

EXACT = {"rtol": 1e-11, "atol": 1e-11}


def in_python(spec: AttentionSpec, q, k, v, inputs) -> tuple[list[float], float | None]:
    """Row (b, h, q) = the last one, by loops over Python floats."""
    b, h, row = (n - 1 for n in q.shape[:3])
    hkv = h // (q.shape[1] // k.shape[1])
    n_q, n_k = q.shape[2], k.shape[2]

    def read(node: Any, index: tuple[int, ...]) -> float | int | bool:
        return inputs[node.name][index].item()

    weights = []
    for j in range(n_k):
        dot = sum(x * y for x, y in zip(q[b, h, row].tolist(), k[b, hkv, j].tolist(), strict=True))
        values: dict[str, Any] = {"s": dot * scale_of(spec), "b": b, "h": h, "hkv": hkv, "q": row, "k": j}
        values |= {"qpos": row + n_k - n_q, "Nq": n_q, "Nk": n_k}
        if spec.mask_expr is None or evaluate_python(spec.mask_expr, values, read):
            weights.append((j, evaluate_python(spec.score_expr, values, read)))
    if spec.row == "sigmoid":
        p = [(j, 1 / (1 + math.exp(-x)) if x > -700 else 0.0) for j, x in weights]
        return [sum(x * v[b, hkv, j, e].item() for j, x in p) for e in range(v.shape[3])], None
    if all(x == -math.inf for _, x in weights):
        return [0.0] * v.shape[3], -math.inf
    top = max(x for _, x in weights)
    total = sum(math.exp(x - top) for _, x in weights)
    out = [
        sum(math.exp(x - top) / total * v[b, hkv, j, e].item() for j, x in weights) for e in range(v.shape[3])
    ]
    return out, top + math.log(total)


@settings(max_examples=40)
@given(st.data())
def test_a_random_spec_agrees_with_loops_over_python_numbers(data: st.DataObject) -> None:
    spec = data.draw(specs(dtypes=("fp64",)))
    case = data.draw(cases(spec, ("fp64",), 17).filter(lambda c: c.batch and c.seqlen_q))
    if case.poison:
        return
    q, k, v, inputs = case.tensors(spec)
    out, lse = oracle(spec, q, k, v, inputs)
    row, row_lse = in_python(
        spec, q, k, v, {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
    )
    tolerance = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(out[-1, -1, -1], out.new_tensor(row), **tolerance)
    if row_lse is None:
        assert not lse.numel()
    else:
        torch.testing.assert_close(lse[-1, -1, -1], lse.new_tensor(row_lse), **tolerance)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("mask", [None, "causal_top_left"])
@pytest.mark.parametrize("dims", [(24, 24), (32, 16)])
def test_plain_attention_agrees_with_sdpa(heads, kv_heads, mask, dims) -> None:
    spec = AttentionSpec(name="x", head_dim={"qk": dims[0], "v": dims[1]}, mask=mask)
    q, k, v, _ = Case(2, heads, kv_heads, 33, 20, "fp64").tensors(spec)
    expected = sdpa(q, k, v, is_causal=mask is not None, enable_gqa=True)
    torch.testing.assert_close(oracle(spec, q, k, v)[0], expected, **EXACT)


@pytest.mark.parametrize(("n_q", "n_k"), [(5, 9), (9, 5), (7, 7)])
def test_causal_aligns_the_last_query_with_the_last_key(n_q: int, n_k: int) -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="causal")
    visible = torch.ones(n_q, n_k, dtype=torch.bool).tril(n_k - n_q)
    assert truth(spec, *Case(1, 1, 1, n_q, n_k).tensors(spec)).visible[0, 0].equal(visible)


def test_a_window_counts_its_ends_as_flash_attention_does() -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="window(2, 1)")
    visible = truth(spec, *Case(1, 1, 1, 9, 9).tensors(spec)).visible[0, 0]
    assert visible[5].nonzero().flatten().tolist() == [3, 4, 5, 6]


def test_scores_agree_with_eager_flex_attention() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    spec = AttentionSpec(
        name="x",
        head_dim=16,
        score="softcap(s + slopes[h] * (k - qpos), 5.0)",
        mask="window(7, 3)",
        inputs={"slopes": {"shape": ["heads"], "dtype": "float"}},
    )
    q, k, v, inputs = Case(2, 4, 2, 21, 21, "fp64").tensors(spec)
    slopes = inputs["slopes"].double()

    def score(s, b, h, i, j):
        s = 5 * torch.tanh((s + slopes[h] * (j - i)) / 5)
        return torch.where((j >= i - 7) & (j <= i + 3), s, -math.inf)

    expected, expected_lse = flex_attention(q, k, v, score_mod=score, enable_gqa=True, return_lse=True)
    out, lse = oracle(spec, q, k, v, inputs)
    torch.testing.assert_close(out, expected, **EXACT)
    torch.testing.assert_close(lse, expected_lse.double(), rtol=1e-6, atol=1e-6)


def test_a_row_with_nothing_to_see_is_zero_and_its_lse_minus_infinity() -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="causal")
    out, lse = oracle(spec, *Case(1, 1, 1, 5, 2).tensors(spec))
    assert (out[0, 0, :3] == 0).all()
    assert (lse[0, 0, :3] == -math.inf).all()
    assert lse[0, 0, 3:].isfinite().all()


@pytest.mark.parametrize("sizes", [(1, 0, 3), (1, 3, 0), (0, 3, 3), (1, 0, 0)])
def test_empty_sizes_give_empty_or_zero_results(sizes: tuple[int, int, int]) -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="causal")
    b, n_q, n_k = sizes
    q, k, v, _ = Case(b, 2, 1, n_q, n_k).tensors(spec)
    for out, lse in (oracle(spec, q, k, v), plain(spec, q, k, v)):
        assert out.shape == (b, 2, n_q, 8)
        assert lse.shape == (b, 2, n_q)
        assert ((out == 0).all() and (lse == -math.inf).all()) or n_k


def test_zero_queries_count_the_visible_keys_and_unit_values_read_them_out() -> None:
    spec = AttentionSpec(name="x", head_dim=16, mask="causal & (k % 3 != 1)")
    q, k, v, _ = Case(1, 1, 1, 16, 16, "fp64", "zero_q").tensors(spec)
    found = truth(spec, q, k, v)
    count = found.visible.sum(-1)
    torch.testing.assert_close(found.lse.exp(), count.double())
    assert (found.out * count[..., None]).round().bool().equal(found.visible)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_hidden_keys_may_hold_anything(bad: float) -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="k < 4")
    q, k, v, _ = Case(1, 1, 1, 6, 6, "fp64").tensors(spec)
    expected = oracle(spec, q, k, v)
    k[:, :, 4:], v[:, :, 4:] = bad, bad
    for got, want in zip(oracle(spec, q, k, v), expected, strict=True):
        assert got.equal(want)


def test_a_visible_nan_is_not_lost() -> None:
    spec = AttentionSpec(name="x", head_dim=8, mask="causal")
    q, k, v, _ = Case(1, 1, 1, 6, 6, "fp64").tensors(spec)
    v[0, 0, 3, 1] = math.nan
    out, _ = oracle(spec, q, k, v)
    assert out[0, 0, 3:, 1].isnan().all()
    assert out.isnan().sum() == 3


def test_a_read_outside_an_input_gives_zero() -> None:
    inputs = {"table": {"shape": [4]}, "seen": {"shape": [5], "dtype": "bool"}}
    spec = AttentionSpec(name="x", head_dim=8, score="s + table[k - 1]", mask="seen[k]", inputs=inputs)
    q, k, v, _ = Case(1, 1, 1, 2, 7).tensors(spec)
    table = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = truth(spec, q, k, v, {"table": table, "seen": torch.ones(5, dtype=torch.bool)})
    assert found.visible[0, 0, 0].tolist() == [True] * 5 + [False] * 2
    same = AttentionSpec(
        name="x", head_dim=8, score="s + bias[k]", mask="k < 5", inputs={"bias": {"shape": ["seqlen_k"]}}
    )
    want = oracle(same, q, k, v, {"bias": torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0])})
    for got, wanted in zip((found.out, found.lse), want, strict=True):
        assert got.equal(wanted)
    where = AttentionSpec(
        name="x", head_dim=8, score="where(k < 4, s + table[k], s)", inputs={"table": {"shape": [4]}}
    )
    assert oracle(where, q, k, v, {"table": table})[0].isfinite().all()


def test_grouped_heads_equal_repeated_keys_and_values() -> None:
    spec = AttentionSpec(name="x", head_dim=8)
    q, k, v, _ = Case(2, 6, 2, 5, 5, "fp64").tensors(spec)
    repeated = oracle(spec, q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1))
    for got, want in zip(oracle(spec, q, k, v), repeated, strict=True):
        assert got.equal(want)


def test_condition_is_the_largest_term_behind_a_logit() -> None:
    """s - 1000 + 1000 is worth no more digits than 1000 is."""
    spec = AttentionSpec(name="x", head_dim=8, score="(s - 1000.0) + 1000.0")
    found = truth(spec, *Case(1, 1, 1, 4, 4, "fp64").tensors(spec))
    assert (found.condition > 900).all()
    assert (found.condition < 3000).all()


def test_plain_torch_rounds_as_its_dtype_does() -> None:
    spec = AttentionSpec(name="x", head_dim=64)
    for dtype, low, high in (("bf16", 1e-4, 2e-2), ("fp16", 1e-5, 2e-3), ("fp32", 1e-9, 2e-6)):
        q, k, v, _ = Case(1, 2, 2, 100, 100, dtype).tensors(spec)
        error = (plain(spec, q, k, v)[0].double() - oracle(spec, q, k, v)[0]).abs().max().item()
        assert low < error < high
        loose = (plain(spec, q, k, v, round_scores=True)[0].double() - oracle(spec, q, k, v)[0]).abs()
        assert loose.max().item() >= error / 2
