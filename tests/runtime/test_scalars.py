"""Inputs of rank 0, one number for all: read by their bare name, learned, checked, loaded once a program."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import flashgen
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.errors import SpecError, TensorError
from flashgen.ir.program import Load
from flashgen.runtime.variants import kind
from flashgen.verify import check, check_gradients
from flashgen.verify.case import Case

SPEC = flashgen.AttentionSpec(
    name="scalars",
    head_dim=16,
    score="s * temp + float(int(k == here)) * gain",
    mask="causal & (k < length)",
    sink="gain",
    inputs={
        "temp": {"shape": [], "grad": True},
        "gain": {"shape": [], "grad": True},
        "length": {"shape": [], "dtype": "int"},
        "here": {"shape": [], "dtype": "int"},
    },
)
CASE = Case(2, 4, 2, 20, 37, "fp32", tile=(16, 16))


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if not name.endswith("_lse")])
def test_every_schedule_agrees_with_the_oracle(schedule: str) -> None:
    compare = check_gradients if "backward" in schedule else check
    assert compare(SPEC, CASE, schedule=schedule) == []


def test_so_do_the_generated_kernels() -> None:
    pytest.importorskip("triton")
    assert check(SPEC, CASE, "triton-interpreted") == []
    assert check_gradients(SPEC, CASE, "triton-interpreted") == []


def test_it_is_loaded_once_a_program() -> None:
    (kernel,) = lower_spec(SPEC).program.kernels
    outside = [s.src for s in kernel.body if isinstance(s, Load)]
    assert all(outside.count(name) == 1 for name in SPEC.inputs)


def call(**inputs: Any) -> torch.Tensor:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 33, 16) for _ in range(3))
    given: dict[str, Any] = {
        "temp": torch.tensor(0.7),
        "gain": torch.tensor(0.1),
        "length": torch.tensor(20),
        "here": torch.tensor(3),
    }
    return flashgen.compile(SPEC)(q, k, v, **{**given, **inputs})  # type: ignore[return-value]


def test_its_gradient_is_one_number() -> None:
    def loss(temp: torch.Tensor) -> torch.Tensor:
        return call(temp=temp).square().sum()

    temp = torch.tensor(0.7, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(temp), temp)
    step = (loss(torch.tensor(0.71)) - loss(torch.tensor(0.69))) / 0.02
    assert slope.shape == ()
    torch.testing.assert_close(slope, step, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (0.5, r"temp is a float; expected a torch.Tensor. torch.tensor\(0.5, device=q.device\) would work"),
        (torch.ones(1), r"temp has 1 dims, shape \[1\]; expected \[\]. temp.reshape\(\(\)\) would work"),
        (torch.ones(2), r"temp has 1 dims, shape \[2\]; expected \[\]$"),
        (torch.tensor(1), r"temp is torch.int64; float inputs are .* temp.float\(\) would work"),
    ],
)
def test_what_is_no_such_tensor_is_refused(given: Any, says: str) -> None:
    with pytest.raises(TensorError, match=says):
        call(temp=given)


@pytest.mark.parametrize("text", ["s * temp[]", "s * temp[0]", "s * temp(1)"])
def test_it_has_no_index(text: str) -> None:
    with pytest.raises(SpecError, match="`temp` is one number: write `temp` alone"):
        SPEC.replace(score=text, sink=None)


def test_a_kernel_is_specialised_on_an_input_that_has_no_stride() -> None:
    for given in (torch.tensor(1.5), torch.tensor(3)):
        found = kind("temp", given, free=True)
        assert found.unit == ()
        assert not found.described
