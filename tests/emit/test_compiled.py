"""Generated kernels compile for GPUs that this machine need not have."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flashgen.backends.triton.emit.source import KernelSource, Source
from flashgen.driver import lower_spec
from flashgen.ir.program import Program
from flashgen.spec.model import AttentionSpec

from .building import plan, program, source

#: (spec, dtype, backend, arch, threads a warp, sides, what the assembly must hold, schedule)
CASES = [
    ("causal_d48", "bf16", "cuda", 90, 32, (64, 64), "wgmma", "flash2"),
    ("capped_window", "fp16", "cuda", 80, 32, (64, 32), "cp.async", "flash2"),
    ("documents", "bf16", "cuda", 90, 32, (64, 32), "ld.global", "flash2"),
    ("bits", "bf16", "cuda", 90, 32, (64, 32), "xor.b32", "flash2"),
    ("times", "bf16", "cuda", 90, 32, (64, 64), "sub.s64", "flash2"),
    ("times", "fp16", "cuda", 80, 32, (64, 32), "sub.s64", "backward"),
    ("plain", "fp32", "cuda", 90, 32, (64, 32), "fma.rn.f32", "flash2"),
    ("slopes", "bf16", "hip", "gfx942", 64, (64, 32), "mfma", "flash2"),
    ("causal_d48", "bf16", "cuda", 90, 32, (64, 64), "wgmma", "standard_backward"),
    ("causal_d48", "bf16", "cuda", 90, 32, (64, 32), "bar.sync", "flash1"),
    ("causal_d48", "bf16", "cuda", 90, 32, (64, 32), "bar.sync", "flash1_backward"),
]

SCRIPT = """
import importlib.util, json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
job = json.load(sys.stdin)
place = importlib.util.spec_from_file_location("generated", job["module"])
module = importlib.util.module_from_spec(place)
place.loader.exec_module(module)
for kernel in job["kernels"]:
    attrs = {(i,): [["tt.divisibility", 16]] for i in kernel["aligned"]}
    constants = {(i,): v for i, v in kernel["constants"]}
    src = ASTSource(getattr(module, kernel["name"]), kernel["signature"], constants, attrs)
    made = triton.compile(src, target=GPUTarget(*job["target"]), options={"num_warps": 4, "num_stages": 2})
    print(made.asm.get("ptx") or made.asm["amdgcn"])
"""


def arguments(p: Program, kernel: KernelSource, dtype: str) -> dict[str, Any]:
    """What the compiler is told of a kernel's arguments."""
    types = {"elem": dtype, "acc": "fp32", "int32": "i64", "bool": "i1"}
    signature, constants, aligned = {}, [], []
    for i, a in enumerate(kernel.args):
        signature[a.name] = "i32"
        if a.kind == "ptr":
            signature[a.name] = "*" + types[p.tensor(a.tensor or "").dtype]
        if a.kind == "constexpr":
            signature[a.name] = "constexpr"
            constants.append((i, a.value))
        if a.kind in ("ptr", "stride"):
            aligned.append(i)
    return {"name": kernel.name, "signature": signature, "constants": constants, "aligned": aligned}


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("name, dtype, backend, arch, lanes, sides, holds, schedule", CASES)
def test_it_compiles(
    name: str,
    dtype: str,
    backend: str,
    arch: int | str,
    lanes: int,
    sides: tuple[int, int],
    holds: str,
    schedule: str,
    tmp_path: Path,
) -> None:
    p = program(name, schedule)
    made = source(p, plan(p, dtype=dtype, m=sides[0], n=sides[1], group=2))
    assert holds in assembly(p, made, dtype, (backend, arch, lanes), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_inputs_with_the_names_of_kernels_compile(tmp_path: Path) -> None:
    names = ("q_lo", "stride_q", "lse")
    declared: dict[str, Any] = {n: {"shape": ["heads", "seqlen_k"], "grad": True} for n in names}
    score = " + ".join(["s", *(f"{n}[h, k]" for n in names)])
    p = lower_spec(AttentionSpec(name="x", head_dim=16, score=score, inputs=declared), "backward").program
    assert assembly(p, source(p, plan(p, dtype="bf16", m=32, n=32)), "bf16", ("cuda", 90, 32), tmp_path)


def assembly(p: Program, made: Source, dtype: str, target: tuple[Any, ...], tmp_path: Path) -> str:
    """What Triton makes of a module's kernels, in a process that has no interpreter."""
    path = tmp_path / "generated.py"
    path.write_text(made.text, encoding="utf-8")
    job = {
        "module": str(path),
        "kernels": [arguments(p, kernel, dtype) for kernel in made.kernels],
        "target": list(target),
    }
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(job), env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
