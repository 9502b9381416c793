"""Specs, plans and modules for the tests of the emitter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flashgen.backends.triton.emit.source import Provenance, Source
from flashgen.backends.triton.emit.triton import emit
from flashgen.driver import lower_spec
from flashgen.ir.program import Program
from flashgen.plan.plan import KernelPlan, Order, Plan
from flashgen.spec.model import AttentionSpec

#: Specs that together reach every template: gathers, several ranges, pieces, padding, scalar inputs.
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 32},
    "causal_d48": {"head_dim": {"qk": 48, "v": 24}, "mask": "causal"},
    "capped_window": {"head_dim": 16, "score": "50 * tanh(s / 50)", "mask": "window(20, 0)"},
    "sinks": {"head_dim": 16, "mask": "causal & ((k < 4) | window(19, 0))"},
    "slopes": {
        "head_dim": 16,
        "score": "s + slopes[h] * (k - qpos)",
        "mask": "causal",
        "inputs": {"slopes": {"shape": ["heads"], "dtype": "float"}},
    },
    "buckets": {
        "head_dim": 16,
        "score": "s + table[h, min(abs(k - qpos), 15)]",
        "inputs": {"table": {"shape": ["heads", 16], "dtype": "float"}},
    },
    "padded": {
        "head_dim": 16,
        "mask": "k < length[b]",
        "inputs": {"length": {"shape": ["batch"], "dtype": "int"}},
    },
    "documents": {
        "head_dim": 16,
        "mask": "(of_q[b, q] == of_k[b, k]) & keep[b, k]",
        "inputs": {
            "of_q": {"shape": ["batch", "seqlen_q"], "dtype": "int"},
            "of_k": {"shape": ["batch", "seqlen_k"], "dtype": "int"},
            "keep": {"shape": ["batch", "seqlen_k"], "dtype": "bool"},
        },
    },
    "times": {
        "head_dim": 16,
        "mask": "(at[b, qpos] - at[b, k] < 86400) & (at[b, k] // since[b] % 7 != 3)",
        "inputs": {
            "at": {"shape": ["batch", "seqlen_k"], "dtype": "int"},
            "since": {"shape": ["batch"], "dtype": "int"},
        },
    },
    "pair_bias": {
        "head_dim": 16,
        "score": "s + bias[b, h, q, k]",
        "inputs": {"bias": {"shape": ["batch", "heads", "seqlen_q", "seqlen_k"], "dtype": "float"}},
    },
    "bits": {
        "head_dim": 16,
        "mask": "((w[b, k] >> n[b, q]) & 1 == 1) ^ causal"
        " | ((q < 9) == (k < 5)) & (((~w[b, k]) | q) != 1 << n[b, q])",
        "inputs": {
            "w": {"shape": ["batch", "seqlen_k"], "dtype": "int"},
            "n": {"shape": ["batch", "seqlen_q"], "dtype": "int"},
        },
    },
    "strided": {"head_dim": 16, "mask": "((k - q) % 3 == 0) & (k // 7 <= qpos // 7)"},
}


def spec(name: str) -> AttentionSpec:
    """One of ``SPECS``."""
    return AttentionSpec(name=name, **SPECS[name])


def program(name: str, schedule: str = "flash2") -> Program:
    """Its program."""
    return lower_spec(spec(name), schedule).program


def plan(p: Program, dtype: str = "fp16", m: int = 32, n: int = 32, warps: int = 4, group: int = 0) -> Plan:
    """Some plan for ``p``; heads are launched together where ``group`` says so."""
    kernels = tuple(
        KernelPlan(
            (("BLOCK_M", m), ("BLOCK_N", n)),
            warps,
            2,
            Order(
                tuple(a.name for a in k.grid),
                k.longest[:1] if k.longest and k.longest[1] == "last" else (),
                group,
            ),
        )
        for k in p.kernels
    )
    return Plan(p.schedule, "h100", dtype, kernels, 0, 0, 0.0)


def source(p: Program, pl: Plan | None = None, description: str = "A test.") -> Source:
    """The module of ``p``."""
    return emit(p, pl or plan(p), Provenance("{}", description))


def edited(p: Program, **changes: Any) -> Program:
    """``p`` with fields of its only kernel changed."""
    return replace(p, kernels=(replace(p.kernels[0], **changes),))
