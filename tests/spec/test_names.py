"""Which names a spec may give. That the others are free is said by ``tests/properties/test_names.py``."""

from __future__ import annotations

import inspect
import keyword

import pytest

from flashgen.errors import SpecError
from flashgen.runtime.api import CompiledAttention
from flashgen.spec.model import AttentionSpec
from flashgen.spec.names import spec_name_problem, value_name_problem


@pytest.mark.parametrize(
    "name", [n for n in inspect.signature(CompiledAttention.__call__).parameters if n != "inputs"]
)
def test_no_input_takes_an_argument_of_the_call(name: str) -> None:
    assert value_name_problem(name)


def test_an_argument_of_the_call_is_called_what_it_is() -> None:
    with pytest.raises(SpecError, match=r"`seed` is an argument of the call itself.*try `my_seed`"):
        AttentionSpec(name="plain", head_dim=16, inputs={"seed": {"shape": ["heads"]}}, score="s + seed[h]")


@pytest.mark.parametrize("name", keyword.kwlist)
def test_python_keywords_are_refused(name: str) -> None:
    assert value_name_problem(name)


@pytest.mark.parametrize(
    "name, what",
    [
        ("clip", "a function of"),
        ("tanh", "a function of"),
        ("lt", "the name of an operator of"),
        ("q", "a variable of"),
    ],
)
def test_a_taken_name_is_called_what_it_is(name: str, what: str) -> None:
    assert f"`{name}` is {what} the expression language" in str(value_name_problem(name))


@pytest.mark.parametrize("name", "dq t n d1 acc delta lse m p o do keep table torch tl B match out".split())
def test_names_that_are_free(name: str) -> None:
    assert value_name_problem(name) is None


@pytest.mark.parametrize("name", "forward backward torch triton dropout_keep con".split())
def test_no_spec_is_called_like_what_stands_in_its_module(name: str) -> None:
    assert spec_name_problem(name)
