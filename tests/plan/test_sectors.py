"""What L2 sends twice follows from the layouts that Triton gives tensors of one shape."""

from __future__ import annotations

import os
import re

import pytest

from flashgen.driver import lower_spec
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import facts
from flashgen.plan.order import best_order
from flashgen.plan.plan import KernelPlan, Plan
from flashgen.plan.resources import Tiling, tiling
from flashgen.plan.sectors import halved, sent
from flashgen.plan.specialise import contiguous
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

WORK = Workload(8, 16, 16, 2048, 2048)
INPUTS = {"bias": {"shape": ["heads", "seqlen_q", "seqlen_k"], "grad": True}}
GPU = load_target("h100")


def spec(d: int) -> AttentionSpec:
    fields = {"name": "dense", "head_dim": d, "score": "s + bias[h, q, k]", "inputs": INPUTS}
    return AttentionSpec.model_validate(fields)


def kernel(d: int, m: int, n: int, stages: int, loads: str, schedule: str, number: int) -> KernelPlan:
    f = facts(lower_spec(spec(d), schedule).program)[number]
    order = best_order(f, GPU, "bf16", WORK)
    return KernelPlan((("BLOCK_M", m), ("BLOCK_N", n)), 4, stages, order, loads)  # type: ignore[arg-type]


def tiled(d: int, m: int, n: int, stages: int = 3, loads: str = "pointer", dtype: str = "bf16") -> Tiling:
    f = facts(lower_spec(spec(d)).program)[0]
    return tiling(f, kernel(d, m, n, stages, loads, "flash2", 0), dtype, GPU)


def factor(t: Tiling) -> float:
    """How often the bias is sent in the first loop."""
    x = next(x for loop in t.facts.loops for x in loop.loads if x.src == "bias")
    return sent(t, x) / t.bytes_of(x)


def test_a_bias_as_large_as_a_narrower_tile_is_sent_twice() -> None:
    assert factor(tiled(32, 128, 32)) == 2, "as large as Q's tile, in fp32"
    assert factor(tiled(64, 128, 64, loads="descriptor")) == 2, "Q is read by address all the same"
    assert factor(tiled(64, 64, 128)) == 1, "no other tile is as large"
    assert factor(tiled(32, 128, 32, stages=1)) == 1, "L1 has the other half"
    assert factor(tiled(32, 128, 32, dtype="fp32")) == 1, "no wider than Q"
    assert factor(tiled(128, 64, 64)) == 1
    q = next(x for x in tiled(32, 128, 32).facts.body.loads if x.src == "q")
    assert not halved(tiled(32, 128, 32), q)


@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="this process interprets and cannot compile"
)
@pytest.mark.parametrize(
    ("d", "m", "n", "loads", "schedule", "number"),
    [
        (32, 128, 32, "pointer", "flash2", 0), (32, 128, 64, "pointer", "flash2", 0),
        (64, 64, 64, "descriptor", "flash2", 0), (64, 64, 32, "pointer", "flash2", 0),
        (64, 64, 64, "pointer", "backward", 0), (64, 64, 64, "pointer", "backward", 1),
    ],
)  # fmt: skip
def test_it_is_what_the_compiler_lays_out(
    d: int, m: int, n: int, loads: str, schedule: str, number: int
) -> None:
    backends = pytest.importorskip("triton.backends.compiler")
    from flashgen.runtime.launch import build
    from flashgen.runtime.source import generated

    program = lower_spec(spec(d), schedule).program
    kernels = tuple(kernel(d, m, n, 2, loads, schedule, i) for i in range(len(program.kernels)))
    plan = Plan(schedule, "h100", "bf16", kernels, 0, 0, 0.0, inline_ptx=True)
    record = generated(spec(d).canonical_json(), plan)
    gpu = backends.GPUTarget("cuda", 90, 32)
    text = build(record, record.kernels[number], contiguous(program, "bf16"), gpu).asm["ttgir"]
    runs = dict(re.findall(r"^(#\w+) = #ttg\.blocked<\{sizePerThread = \[([\d, ]+)\]", text, re.MULTILINE))
    copy = re.search(r"async_copy_global_to_local %bias.*tensor<\d+x\d+x!tt\.ptr<f32>, (#\w+)>", text)
    assert copy, "the bias is copied to shared memory"
    most = max(map(int, runs[copy[1]].split(",")))
    t = tiling(facts(program)[number], kernels[number], "bf16", GPU)
    x = next(x for loop in t.facts.loops for x in loop.loads if x.src == "bias")
    assert halved(t, x) == (4 * most > 16)
