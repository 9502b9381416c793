"""Random specs compile for GPUs that are not here: what is interpreted must also compile."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from flashgen.spec.model import AttentionSpec
from flashgen.verify.specs import specs

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="this process interprets and cannot compile"
)
TARGETS = {"h100": ("cuda", 90, 32), "a100": ("cuda", 80, 32), "mi300x": ("hip", "gfx942", 64)}


def compiled(spec: AttentionSpec, dtype: str, target: str) -> None:
    """Compiles every kernel of ``spec`` for ``target`` with contiguous, aligned tensors."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from flashgen.backends.triton.specialise import contiguous, specialise
    from flashgen.driver import lower_spec
    from flashgen.ir.workload import LONG
    from flashgen.runtime.module import load
    from flashgen.runtime.source import best_plan, generated

    record = generated(spec.canonical_json(), best_plan(spec.canonical_json(), target, dtype, LONG))
    module = load(record.path, record.text)
    kinds = contiguous(lower_spec(spec).program, dtype)
    for kernel in record.kernels:
        types, constants, attributes = specialise(kernel.args, kinds)
        source = ASTSource(getattr(module, kernel.name), types, constants, attributes)
        options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
        assert triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options).asm


@settings(
    max_examples=2,
    deadline=None,
    phases=(Phase.generate,),  # shrinking by compiling takes minutes
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(specs(("bf16", "fp16")).filter(lambda s: s.inputs and s.mask))
def test_random_specs_compile_for_several_gpus(spec: AttentionSpec) -> None:
    for target in TARGETS:  # one after another: Python 3.11's ast.parse does not bear threads
        compiled(spec, "bf16", target)
