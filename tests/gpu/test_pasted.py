"""Generated files on the GPU, as they are pasted: ``attention`` and its gradients beside the runtime."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import flashgen
from flashgen.resources import folder
from flashgen.runtime.module import load
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.verify import Case

pytestmark = pytest.mark.gpu
SEED = 9


def pasted(name: str) -> Any:
    path: Path = folder("generated") / f"{name}.py"
    return load(path, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("sizes", [(300, 300), (257, 333)])
@pytest.mark.parametrize("name", gallery())
def test_it_computes_what_the_runtime_does(name: str, sizes: tuple[int, int]) -> None:
    spec = load_spec(gallery()[name])
    heads = (spec.heads.q, spec.heads.kv) if spec.heads else (4, 2)
    q, k, v, inputs = Case(2, *heads, *sizes, "bf16").tensors(spec, "cuda")
    found = []
    for attend in (pasted(name).attention, flashgen.compile(spec)):
        leaves = [x.detach().clone().requires_grad_(spec.backward) for x in (q, k, v)]
        given: dict[str, Any] = copy.copy(dict(inputs))
        for n, i in spec.inputs.items():
            if i.grad:
                given[n] = given[n].detach().clone().requires_grad_()
                leaves.append(given[n])
        given |= {"seed": SEED} if spec.dropout else {}
        if "lse" in spec.outputs:
            results = [*attend(*leaves[:3], **given, return_lse=True)]
        else:
            results = [attend(*leaves[:3], **given)]
        if spec.backward:
            results += torch.autograd.grad(sum(x.float().sum() for x in results), leaves)
        found.append(results)
    for mine, its in zip(*found, strict=True):
        size = max(1.0, its.float().nan_to_num(0, 0, 0).abs().max().item()) if its.numel() else 1.0
        torch.testing.assert_close(mine.float(), its.float(), rtol=2e-2, atol=2e-2 * size)


def test_no_keys_and_no_queries_are_results_too() -> None:
    """Descriptors of nothing cannot be made."""
    module = pasted("causal")
    for queries, keys in ((5, 0), (0, 5), (0, 0)):
        q = torch.randn(1, 2, queries, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        k, v = torch.randn(2, 1, 2, keys, 128, device="cuda", dtype=torch.bfloat16).unbind()
        out = module.attention(q, k, v)
        assert out.eq(0).all()
        (dq,) = torch.autograd.grad(out.sum(), q)
        assert dq.eq(0).all()


def test_rows_that_the_hardware_cannot_copy_are_refused() -> None:
    q = torch.randn(1, 2, 64, 128, device="cuda", dtype=torch.bfloat16)
    k = torch.randn(1, 2, 64, 132, device="cuda", dtype=torch.bfloat16)[..., 2:130]
    with pytest.raises(ValueError, match=r"k has strides .* pass k\.clone"):
        pasted("causal").attention(q, k, q)
