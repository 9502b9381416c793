"""Every spec of the gallery trains: its gradients agree with the oracle's, wherever it runs."""

from __future__ import annotations

import pytest

from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.verify import Case, check_gradients
from flashgen.verify.run import program_backward

SHORT = 9


def short(name: str, **changes: object) -> AttentionSpec:
    """A spec of the gallery with whole numbers so small that they matter to short sequences, and with every
    input learned that can be."""
    spec = load_spec(gallery()[name])
    constants = {n: min(x, SHORT) if isinstance(x, int) else x for n, x in spec.constants.items()}
    inputs = {n: {**i.model_dump(), "grad": i.dtype == "float"} for n, i in spec.inputs.items()}
    return spec.replace(constants=constants, inputs=inputs, **changes)


def case_of(spec: AttentionSpec, *args: object, **kwargs: object) -> Case:
    heads = (spec.heads.q, spec.heads.kv) if spec.heads else (4, 2)
    return Case(1, *heads, *args, **kwargs)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "fp64"])
@pytest.mark.parametrize("name", gallery())
def test_as_a_user_calls(name: str, dtype: str) -> None:
    spec = short(name)
    for seed, (n_q, n_k) in enumerate(((40, 40), (33, 50))):
        case = case_of(spec, n_q, n_k, dtype, seed=seed, poison=bool(seed), through=("out", "both")[seed])
        assert check_gradients(spec, case) == []


@pytest.mark.parametrize("name", gallery())
def test_on_the_program_with_dropout(name: str) -> None:
    spec = short(name, dropout=0.1)
    case = case_of(spec, 33, 40, "bf16", tile=(16, 32), dropout=2**40 + 7, through="both")
    assert check_gradients(spec, case, program_backward(case.tile)) == []


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", gallery())
def test_on_the_kernels_in_the_interpreter(name: str, dtype: str) -> None:
    pytest.importorskip("triton")
    spec = short(name, heads=None)
    case = case_of(spec, 20, 33, dtype, tile=(16, 32), through=("out", "both")[dtype == "fp16"])
    assert check_gradients(spec, case, "triton-interpreted") == []
