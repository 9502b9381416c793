"""Integers are exact over all of int32: what users call against the oracle, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.errors import TensorError
from flashgen.spec.model import AttentionSpec
from flashgen.verify.gradients import truth_gradients
from flashgen.verify.oracle import oracle

LOW, HIGH = -(2**31), 2**31 - 1
ROWS = {"shape": ["batch", "seqlen_k"], "dtype": "int"}
WINDOW = "(at[b, k] <= at[b, qpos]) & (at[b, qpos] - at[b, k] < 86400)"


def of(mask: str, score: str = "s", **inputs: object) -> AttentionSpec:
    return AttentionSpec(name="ints", head_dim=16, mask=mask, score=score, inputs=inputs)


def qkv(n: int = 40) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    return [torch.randn(2, 2, n, 16, generator=g, requires_grad=True) for _ in range(3)]


def agree(spec: AttentionSpec, **inputs: Tensor) -> Tensor:
    """``out``, which and whose gradients are the oracle's."""
    q, k, v = qkv()
    out, lse = flashgen.compile(spec)(q, k, v, **inputs, return_lse=True)
    for got, true in zip((out, lse), oracle(spec, q, k, v, inputs), strict=True):
        torch.testing.assert_close(got.double(), true, rtol=1e-5, atol=1e-5)
    dout = torch.ones_like(out) * torch.linspace(-1, 1, 16)
    learned = [x for x in inputs.values() if x.requires_grad]
    found = torch.autograd.grad(out, [q, k, v, *learned], dout)
    true_ones = truth_gradients(spec, q, k, v, inputs, dout)
    for g, t in zip(found, true_ones.values(), strict=True):
        torch.testing.assert_close(g.double(), t.double(), rtol=1e-4, atol=1e-5)
    return out.detach()


def times() -> Tensor:
    g = torch.Generator().manual_seed(2)
    return torch.sort(torch.randint(0, 400_000, (2, 40), generator=g), dim=1).values


def test_a_window_of_unix_times_does_not_depend_on_when_it_is() -> None:
    spec, at = of(WINDOW, at=ROWS), times()
    here = agree(spec, at=at)
    q, k, v = qkv()
    assert not torch.allclose(here, flashgen.compile(of("k <= qpos"))(q, k, v), atol=1e-3)
    for start in (1_700_000_000, LOW, HIGH - 400_000, 2**30 - 200_000):
        assert agree(spec, at=at + start).equal(here)
    assert agree(spec, at=(at + LOW).int()).equal(here)


@pytest.mark.parametrize(
    "mask, score",
    [
        ("id[b, k] == id[b, qpos]", "s"),
        ("-id[b, k] <= id[b, qpos]", "s"),
        ("abs(id[b, k] - id[b, qpos]) < 2147483647", "s"),
        ("id[b, k] * id[b, qpos] // 3 < 1000", "s"),
        ("id[b, k] // 7 <= id[b, qpos] // id[b, 0]", "s"),
        ("id[b, k] % 2147483647 <= id[b, qpos] % (id[b, 3] - 1)", "s"),
        ("k + id[b, 0] < 5", "s"),
        ("(k < id[b, 0] - 1) | (k >= id[b, 1] + 1)", "s"),
        ("(q * 100000000) % 7 == (k * 100000000) % 7", "s + 1e-12 * (id[b, k] - id[b, qpos])"),
        ("causal", "s + table[id[b, k] - id[b, qpos]]"),
        ("causal", "s + 1e-28 * id[b, k] ** 3 * row[h]"),
    ],
)
def test_edges_of_int32(mask: str, score: str) -> None:
    edges = torch.tensor([LOW, HIGH, 0, -1, 1, LOW + 1, HIGH - 1, 2**30, 2**30 + 1, -(2**30)])
    g = torch.Generator().manual_seed(3)
    given = {
        "id": edges[torch.randint(0, len(edges), (2, 40), generator=g)].int(),
        "table": torch.randn(4, generator=g),
        "row": torch.randn(2, generator=g, requires_grad=True),
    }
    declared = {"id": ROWS, "table": {"shape": [4]}, "row": {"shape": ["heads"], "grad": True}}
    used = [n for n in given if f"{n}[" in mask + score]
    agree(of(mask, score, **{n: declared[n] for n in used}), **{n: given[n] for n in used})


@pytest.mark.parametrize("value", [HIGH + 1, LOW - 1, 2**63 - 1])
def test_values_beyond_int32_are_refused_whenever_they_come(value: int) -> None:
    spec = of("k < length[b]", length={"shape": ["batch"], "dtype": "int"})
    attend, length = flashgen.compile(spec), torch.tensor([3, HIGH])
    q, k, v = qkv()
    attend(q, k, v, length=length)
    length[1] = value
    with pytest.raises(TensorError, match=rf"length holds a value beyond int32.* Here it has {value}"):
        attend(q, k, v, length=length)


def test_values_are_looked_at_in_a_compiled_graph() -> None:
    attend = flashgen.compile(of("k < length[b]", length={"shape": ["batch"], "dtype": "int"}))
    compiled = torch.compile(lambda *t: attend(*t[:3], length=t[3]), fullgraph=True, backend="eager")
    q, k, v = qkv()
    assert compiled(q, k, v, torch.tensor([3, HIGH])).shape == q.shape
    with pytest.raises(TensorError, match="beyond int32"):
        compiled(q, k, v, torch.tensor([3, HIGH + 1]))


def test_only_numbers_of_any_call_are_indexed_in_32_bits() -> None:
    q = torch.empty(1, 1, 1, 16).expand(1, 1, 2**28 + 1, 16)
    with pytest.raises(TensorError, match="q has seqlen 268435457; at most 268435456"):
        flashgen.compile(of("causal"))(q, q, q)
