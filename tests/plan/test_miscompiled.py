"""Code whose dots read from wrong addresses is refused; everything else is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashgen.backends.triton.miscompiled import wrong_operands
from flashgen.backends.triton.verdict import compiled, job
from flashgen.driver import emit_source, lower_spec, plan_for
from flashgen.ir.workload import Workload
from flashgen.plan.backend import Verdict
from flashgen.plan.plan import Plan
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

#: As ptxas 12.8 writes them: base, address of the second piece, upper word, dot.
RIGHT = """
    /*1e90*/   UMOV UR5, URZ ;
    /*1ea0*/   UIADD3 UR18, UP0, UR10, 0x2, URZ ;
    /*1eb0*/   UIADD3.X UR19, UR5, 0x40000040, URZ, UP0, !UPT ;
    /*1ec0*/   UIADD3.X UR33, UR33, -0x1, URZ, UP0, !UPT ;
    /*1ed0*/   HGMMA.64x16x16.F32.BF16 R152, R92, gdesc[UR16].tnspB, R152 ;
"""
WRONG = """
    /*1570*/   ULEA UR4, UR5, UR4, 0x18 ;
    /*3a30*/   UIADD3 UR58, UP0, UR4, 0x20, URZ ;
    /*3a40*/   UIADD3.X UR59, UR4, -0x3ffffff0, URZ, UP0, !UPT ;
    /*3ad0*/   HGMMA.64x16x16.F32.BF16 R152, R92, gdesc[UR56].tnspB, R152 ;
"""


def test_the_upper_half_of_an_address_is_zero() -> None:
    assert wrong_operands(RIGHT) == ""
    assert "UR4" in wrong_operands(WRONG)
    assert wrong_operands(WRONG.replace("ULEA UR4, UR5, UR4, 0x18", "UMOV UR4, URZ")) == ""


@pytest.mark.parametrize(
    "zero", ["CS2R R6, SRZ", "IMAD.MOV.U32 R7, RZ, RZ, RZ", "HFMA2.MMA R7, -RZ, RZ, 0, 0"]
)
def test_zeros_of_each_kind_are_known(zero: str) -> None:
    add = "IADD3.X R59, R7, 0x40000040, RZ, P1, !PT ;"
    assert wrong_operands(f"{zero} ;\n{add}") == ""
    assert "R7" in wrong_operands(f"{zero} ;\nLDS.64 R6, [R2] ;\n{add}")


def verdict(head_dim: int, stages: int) -> Verdict:
    low = lower_spec(AttentionSpec(name="x", head_dim=head_dim))
    gpu = load_target("h100")
    plan: Plan = plan_for(low, gpu, "bf16", Workload(2, 4, 4, 512, 512))
    sides = (("BLOCK_M", 128), ("BLOCK_N", 64))
    (kernel,) = plan.kernels
    kernel = replace(kernel, sides=sides, num_warps=8, num_stages=stages, loads="pointer", max_registers=0)
    plan = replace(plan, kernels=(kernel,))
    return compiled(job(low.program, emit_source(low, plan), 0, plan, gpu))


def test_kernels_known_to_be_wrong_are_refused_and_right_ones_are_not() -> None:
    """With head dim 200, one stage gave wrong columns from 192 on (H100, Triton 3.6.0), three right ones."""
    import triton

    if triton.__version__.startswith("3.6."):
        assert "miscompiled" in verdict(200, 1).error
    assert verdict(200, 3).measured is not None
    assert verdict(128, 1).measured is not None
