"""Names of inputs, against the names of generated code."""

from __future__ import annotations

import ast
import builtins

import pytest

from flashgen.driver import lower_spec
from flashgen.errors import SpecError
from flashgen.spec.model import AttentionSpec
from flashgen.spec.names import value_name_problem

from ..emit.building import plan, source


def names_of_the_host(schedule: str) -> set[str]:
    """What a module of a spec without inputs names at its top level and in ``forward``."""
    program = lower_spec(AttentionSpec(name="plain", head_dim=48, mask="causal"), schedule).program
    tree = ast.parse(source(program, plan(program, group=4)).text)
    forward = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    found = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    imports = [a for n in tree.body if isinstance(n, ast.Import) for a in n.names]
    found |= {a.asname or a.name.split(".")[0] for a in imports}
    return found | {n.id for n in ast.walk(forward) if isinstance(n, ast.Name)}


@pytest.mark.parametrize("schedule", ["flash2", "standard"])
def test_no_input_takes_a_name_of_the_host_function(schedule: str) -> None:
    names = names_of_the_host(schedule) - {"_"}
    assert {"programs", "head_group", "kv_heads", "groups", "shared", "forward"} <= names
    free = {n for n in names if value_name_problem(n, "plain") is None}
    assert not free - set(dir(builtins)), free


@pytest.mark.parametrize("name", ["plain_fwd", "TensorDescriptor", "S"])
def test_other_names_of_generated_code(name: str) -> None:
    assert value_name_problem(name, "plain")
    with pytest.raises(SpecError, match="generated"):
        AttentionSpec(name="plain", head_dim=16, inputs={name: {"shape": ["heads"]}}, score=f"s + {name}[h]")


@pytest.mark.parametrize("name", ["slopes", "values", "shared_bias", "program", "len", "other_fwd"])
def test_names_that_are_free(name: str) -> None:
    assert value_name_problem(name, "plain") is None
