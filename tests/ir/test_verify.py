"""The verifier refuses a name that shadows a live one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashgen.driver import lower_spec
from flashgen.expr.nodes import integer, real
from flashgen.ir.program import Loop, Map, Program, Range, Scalar, Stmt, Tile
from flashgen.ir.verify import InvalidIR, verify_program
from flashgen.spec.model import AttentionSpec

ROW = Tile("m", ("q",), "acc")


def ending(*more: Stmt) -> Program:
    """A sound program with ``more`` at the end of its kernel."""
    program = lower_spec(AttentionSpec(name="x", head_dim=16, mask="causal")).program
    (kernel,) = program.kernels
    return replace(program, kernels=(replace(kernel, body=(*kernel.body, *more)),))


def loop(var: str, *body: Stmt, carried: tuple[str, ...] = ()) -> Loop:
    return Loop(var, (Range(integer(0), integer(3)),), carried, body)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (loop("hkv"), "loop variable hkv shadows a scalar"),
        (loop("h"), "loop variable h shadows a scalar"),
        (loop("m"), "loop variable m shadows a tile"),
        (loop("Nk"), "loop variable Nk shadows a scalar"),
        (loop("n", loop("n")), "loop variable n shadows a scalar"),
        (Scalar("q_lo", integer(0)), "scalar q_lo shadows a scalar"),
        (Scalar("m", integer(0)), "scalar m shadows a tile"),
        (loop("n", Scalar("hkv", integer(1))), "scalar hkv shadows a scalar"),
        (Map(Tile("q_lo", (), "int32"), integer(0)), "tile q_lo shadows a scalar"),
        (loop("n", Map(Tile("n", (), "int32"), integer(0))), "tile n shadows a scalar"),
        (Map(replace(ROW, dtype="int32"), integer(0)), "tile m is defined twice"),
    ],
    ids=str,
)
def test_a_name_that_shadows_is_refused(statement: Stmt, said: str) -> None:
    with pytest.raises(InvalidIR, match=said):
        verify_program(ending(statement))


def test_what_is_only_assigned_again_is_not() -> None:
    again = Map(ROW, real(0.0))
    verify_program(ending(again, loop("n", again, carried=("m",)), loop("n")))
    verify_program(ending(Scalar("fresh", integer(1)), Scalar("fresh", integer(1))))
