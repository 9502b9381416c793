"""``torch.autograd.gradcheck``: gradients are those of the results, by finite differences in fp64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flashgen
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case
from flashgen.verify.gradients import learned

SPECS = {
    "full": {},
    "causal": {"mask": "causal"},
    "window": {"mask": "window(2, 1)", "scale": 0.7},
    "capped": {"score": "softcap(2.0 * s, 3.0)", "mask": "causal"},
    "slopes": {"score": "s + alibi(slopes[h])", "inputs": {"slopes": {"shape": ["heads"], "grad": True}}},
    "bias": {
        "score": "s * gain[hkv] + bias[b, h, q, k]",
        "inputs": {
            "gain": {"shape": ["kv_heads"], "grad": True},
            "bias": {"shape": ["batch", "heads", "seqlen_q", "seqlen_k"], "grad": True},
        },
    },
    "table": {
        "score": "s + table[h, t5_bucket(k - qpos)]",
        "inputs": {"table": {"shape": ["heads", 32], "grad": True}},
    },
    "sink": {
        "sink": "2.0 * sinks[h]",
        "mask": "causal",
        "inputs": {"sinks": {"shape": ["heads"], "grad": True}},
    },
    "dropped": {"dropout": 0.3, "mask": "causal"},
    "dropped_sink": {
        "dropout": 0.5,
        "score": "softcap(s, 2.0)",
        "sink": "sinks[h]",
        "inputs": {"sinks": {"shape": ["heads"], "grad": True}},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_gradients_are_those_of_the_results(name: str) -> None:
    spec = AttentionSpec(name="checked", head_dim=8, **SPECS[name])
    q, k, v, inputs = Case(1, 2, 1, 3, 4, "fp64", seed=1).tensors(spec)
    attn, seed = flashgen.compile(spec), {"seed": 7} if spec.dropout else {}

    def call(*given: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = attn(
            *given[:3], return_lse=True, **dict(zip(learned(spec), given[3:], strict=True)), **seed
        )
        return out, lse

    leaves = [x.double().requires_grad_() for x in (q, k, v, *(inputs[n] for n in learned(spec)))]
    assert torch.autograd.gradcheck(call, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)
