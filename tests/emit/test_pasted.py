"""A generated file pasted into an empty folder: it imports nothing of ours, says what is wrong with a call,
and its ``attention`` is right, forward and backward. Triton's interpreter runs it, in one process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flashgen.driver import emit_source, lower_spec, schedules_of
from flashgen.runtime.module import load
from flashgen.spec.model import AttentionSpec
from flashgen.verify.gradients import truth_gradients
from flashgen.verify.oracle import oracle

from .building import plan

#: Score, mask, dropout, a sink and learned inputs, which together reach every part of such a file.
FIELDS: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 32, "mask": "causal"},
    "learned": {
        "head_dim": {"qk": 16, "v": 24},
        "score": "s + slopes[h] * (k - qpos) + bias[h, q, k]",
        "mask": "(k < length[b]) & keep[b, k]",
        "sink": "slopes[h]",
        "inputs": {
            "slopes": {"shape": ["heads"], "grad": True},
            "bias": {"shape": ["heads", "seqlen_q", "seqlen_k"]},
            "length": {"shape": ["batch"], "dtype": "int"},
            "keep": {"shape": ["batch", "seqlen_k"], "dtype": "bool"},
        },
    },
    "dropped": {"head_dim": 16, "dropout": 0.25},
    "weighed": {
        "head_dim": 16,
        "row": "sigmoid",
        "score": "s - log(Nk) + slopes[h]",
        "mask": "causal",
        "dropout": 0.25,
        "inputs": {"slopes": {"shape": ["heads"], "grad": True}},
    },
    "quiet": {"head_dim": 16, "outputs": ["out"], "heads": {"q": 4, "kv": 2}},
    "inference": {"head_dim": 16, "backward": False},
    "capped": {"head_dim": 16, "score": "softcap(s, 5.0)", "dtypes": ["bf16"]},
}
#: Whose file is the twin of one for bf16, with inline assembly and descriptors, and runs on fp16.
TWINS = ("capped",)
SEED = 77


def spec(name: str) -> AttentionSpec:
    return AttentionSpec(name=name, **FIELDS[name])


def text(name: str, dtype: str = "fp32") -> str:
    """The file of a spec: forward and, where it trains, backward."""
    parts = []
    for schedule in schedules_of(spec(name)):
        lowered = lower_spec(spec(name), schedule)
        planned = plan(lowered.program, "bf16" if name in TWINS else dtype)
        if name in TWINS:
            kernels = tuple(replace(k, loads="descriptor", max_registers=128) for k in planned.kernels)
            planned = replace(planned, kernels=kernels, inline_ptx=True)
        parts.append((lowered, planned))
    return emit_source(*parts[0], *parts[1:], interpretable=name in TWINS).text


def tensors(name: str) -> dict[str, Any]:
    torch.manual_seed(3)
    s, shape = spec(name), (2, 4, 2, 37, 45)
    B, Hq, Hkv, Nq, Nk = shape
    given: dict[str, Any] = {
        "q": torch.randn(B, Nq, Hq, s.d_qk).transpose(1, 2),
        "k": torch.randn(B, Hkv, Nk, s.d_qk),
        "v": torch.randn(B, Hkv, Nk, s.d_v),
    }
    made = {
        "slopes": torch.rand(Hq),
        "bias": torch.randn(Nq, Hq, Nk).transpose(0, 1),
        "length": torch.tensor([45, 20]),
        "keep": torch.rand(B, Nk) > 0.3,
    }
    given |= {n: made[n] for n in s.inputs}
    if name in TWINS:
        given = halves(given)
    return given | ({"seed": SEED} if s.dropout else {})


def halves(given: dict[str, Any]) -> dict[str, Any]:
    """The call with q, k and v in fp16."""
    return {n: x.half() if n in "qkv" else x for n, x in given.items()}


RUNNER = """
import importlib, inspect, sys, torch
sys.modules["flashgen"] = None  # an import of it fails
torch.set_num_threads(1)
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    given = torch.load(name + ".in.pt")
    upstream = [given.pop("dout"), given.pop("dlse")]
    learned = given.pop("learned")
    matrices = [given.pop(n).requires_grad_(bool(learned)) for n in "qkv"]
    given = {n: x.requires_grad_() if n in learned else x for n, x in given.items()}
    asked = inspect.signature(module.attention).parameters.keys() & {"return_lse"}
    found = module.attention(*matrices, **given, **dict.fromkeys(asked, True))
    out, lse = found if asked else (found, found.new_empty(0))
    found = {"out": out.detach(), "lse": lse.detach(), "lse learned": lse.requires_grad}
    if learned:
        gave = [(x, g) for x, g in zip((out, lse), upstream) if x.requires_grad]
        torch.autograd.backward([x for x, _ in gave], [g for _, g in gave])
        of = dict(zip("qkv", matrices)) | given
        found |= {"d" + n: of[n].grad for n in learned}
    torch.save(found, name + ".out.pt")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], ...]]:
    folder = tmp_path_factory.mktemp("pasted")
    given = {}
    for name in FIELDS:
        (folder / f"{name}.py").write_text(text(name), encoding="utf-8")
        s, of = spec(name), tensors(name)
        rows = (2, 4, 37)
        up: dict[str, torch.Tensor | None] = {
            "dout": torch.randn(*rows, 1, dtype=of["q"].dtype).expand(*rows, s.d_v),
            "dlse": torch.randn(4, 1).expand(rows),
        }
        if "lse" not in s.outputs:
            up["dlse"] = None
        learned = ["q", "k", "v", *(n for n, i in s.inputs.items() if i.grad)] if s.backward else []
        given[name] = {**of, **up, "learned": learned}
        torch.save(given[name], folder / f"{name}.in.pt")
    env = {n: x for n, x in os.environ.items() if n != "PYTHONPATH"}
    env |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUNNER, *FIELDS]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (given[name], torch.load(folder / f"{name}.out.pt")) for name in FIELDS}


def _oracle_arguments(
    name: str, given: dict[str, Any]
) -> tuple[AttentionSpec, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    return (spec(name), given["q"], given["k"], given["v"], {n: given[n] for n in spec(name).inputs})


@pytest.mark.parametrize("name", FIELDS)
def test_it_attends_as_the_oracle(results: dict[str, Any], name: str) -> None:
    given, found = results[name]
    out, lse = oracle(*_oracle_arguments(name, given), seed=given.get("seed"))
    half = 100 if name in TWINS else 1
    torch.testing.assert_close(found["out"].double(), out.double(), rtol=1e-4 * half, atol=2e-5 * half)
    torch.testing.assert_close(found["lse"].double(), lse.double(), rtol=1e-4 * half, atol=2e-5 * half)


@pytest.mark.parametrize("name", [n for n in FIELDS if n != "inference"])
def test_its_gradients_are_the_oracle_s(results: dict[str, Any], name: str) -> None:
    given, found = results[name]
    assert found["lse learned"] == ("lse" in spec(name).outputs)
    right = truth_gradients(*_oracle_arguments(name, given), given["dout"], given["dlse"], given.get("seed"))
    assert {n for n in found if n.startswith("d")} == {f"d{n}" for n in given["learned"]} == set(right)
    half = 100 if name in TWINS else 1
    for gradient, true in right.items():
        got = found[gradient].double()
        torch.testing.assert_close(got, true.double(), rtol=2e-4 * half, atol=5e-5 * half)


def test_a_twin_has_no_inline_assembly_and_says_what_it_is() -> None:
    twin = text("capped")
    assert not re.search("inline_asm|TensorDescriptor|maxnreg", twin)
    assert "twin      for Triton's interpreter: TRITON_INTERPRET=1" in twin
    assert '_check("q", q, (None, None, None, 16), (torch.float16, torch.float32))' in twin


@pytest.fixture(scope="module", params=["learned", "dropped", "quiet", "inference"])
def pasted(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    """A module in this process, and a call that it would take; nothing is launched."""
    name = request.param
    return load(Path(f"<pasted {name}>"), text(name, "fp16")), tensors(name)


def refused(pasted: Any, given: dict[str, Any], *said: str, error: type[Exception] = ValueError) -> None:
    q, k, v, *_ = given.values()
    rest = {n: x for n, x in given.items() if n not in "qkv"}
    with pytest.raises(error) as found:
        pasted.attention(q, k, v, **rest)
    assert all(words in str(found.value) for words in said), found.value


def test_a_wrong_shape_is_named(pasted: tuple[Any, dict[str, Any]]) -> None:
    module, given = pasted
    h = halves(given)
    B, Hq, Nq, d = h["q"].shape
    refused(
        module, h | {"q": h["q"][..., :8]}, f"q has shape [{B}, {Hq}, {Nq}, 8]; expected [any, any, any, {d}]"
    )
    refused(module, h | {"q": h["q"][0]}, "q has shape")
    refused(module, h | {"k": h["k"][:1]}, "k has shape [1, 2, 45,", f"expected [{B}, any, any, {d}]")
    refused(module, h | {"v": h["v"][:, :, :44]}, "v has shape [2, 2, 44,", "expected [2, 2, 45,")
    refused(module, h | {"q": h["q"][:, :3]}, "q has 3 heads and k 2; expected")


def test_a_wrong_dtype_device_or_stride_is_named(pasted: tuple[Any, dict[str, Any]]) -> None:
    module, given = pasted
    h = halves(given)
    refused(module, given, "q is torch.float32; expected torch.float16 or torch.bfloat16", error=TypeError)
    refused(module, h | {"v": h["v"].bfloat16()}, "v is torch.bfloat16; expected", error=TypeError)
    refused(module, h | {"k": h["k"].to("meta")}, "k is on meta; expected cpu")
    refused(module, h | {"k": h["k"].mT.contiguous().mT}, "k has strides", "pass k.contiguous()")
    refused(module, h | {"q": [1.0]}, "q is a list; expected a torch.Tensor", error=TypeError)


def test_of_nothing_any_strides_will_do(pasted: tuple[Any, dict[str, Any]]) -> None:
    """As those of a gradient that a sum gives to no rows: ``contiguous()`` leaves them."""
    nothing = torch.ones(()).expand(2, 4, 0, 16)
    pasted[0]._check("do", nothing, (2, 4, 0, 16), (torch.float32,))


@pytest.mark.parametrize("name", FIELDS["learned"]["inputs"])
def test_every_input_is_checked(name: str) -> None:
    module, given = load(Path("<pasted inputs>"), text("learned", "fp16")), halves(tensors("learned"))
    x = given[name]
    refused(
        module, given | {name: x[:-1]}, f"{name} has shape {list(x[:-1].shape)}; expected {list(x.shape)}"
    )
    refused(module, given | {name: x.to("meta")}, f"{name} is on meta")
    other = x.bool() if x.is_floating_point() else x.double()
    refused(module, given | {name: other}, f"{name} is {other.dtype}; expected", error=TypeError)


def test_a_gradient_is_never_lost() -> None:
    module, given = load(Path("<pasted learned>"), text("learned", "fp16")), halves(tensors("learned"))
    given["bias"].requires_grad_()
    refused(module, given, "bias requires grad, and gets no gradient here")
    module, given = load(Path("<pasted inference>"), text("inference", "fp16")), halves(tensors("inference"))
    refused(module, given | {"k": given["k"].requires_grad_()}, "k requires grad")


def test_a_backward_checks_what_it_is_given() -> None:
    module, given = load(Path("<pasted plain>"), text("plain", "fp16")), halves(tensors("plain"))
    q, k, v = given.values()
    lse = torch.zeros(q.shape[:3])
    with pytest.raises(ValueError, match=r"do has shape \[2, 4, 36, 32\]; expected \[2, 4, 37, 32\]"):
        module.backward(q[:, :, 1:], lse, q, k, v, q, lse)
    with pytest.raises(TypeError, match=r"lse is torch.float16; expected torch.float32"):
        module.backward(q, lse, q, k, v, q, lse.half())


def test_whole_tiles_are_copied_from_aligned_rows_only() -> None:
    """What a tensor descriptor cannot read is refused with words; a dim of size 1 has any stride."""
    lowered = lower_spec(spec("plain"))
    chosen = plan(lowered.program, "fp16")
    kernels = tuple(replace(k, loads="descriptor") for k in chosen.kernels)
    module = load(Path("<pasted tiles>"), emit_source(lowered, replace(chosen, kernels=kernels)).text)
    _, k, _ = halves(tensors("plain")).values()
    made = module._descriptor("k", k[:, :1].as_strided((2, 1, 45, 32), (64, 7, 128, 1)), [1, 1, 32, 32])
    assert made.strides == [64, 8, 128, 1]
    assert module._descriptor("k", k[:, :, :0], [1, 1, 32, 32]).shape == [2, 2, 1, 32]
    for wrong in (
        k[:, :, :, 4:].narrow(-1, 0, 28),
        k[:1].expand(2, 2, 45, 32),
        k.as_strided(k.shape, (9, 9, 36, 1)),
    ):
        with pytest.raises(ValueError, match="k has strides"):
            module._descriptor("k", wrong, [1, 1, 32, 32])


@pytest.mark.parametrize("name", ["learned", "dropped"])
def test_its_kernels_are_those_that_the_compiler_confirms(name: str) -> None:
    """Each schedule is confirmed in a module of its own: the joined file has the same text for it."""
    joined = text(name)
    for schedule in schedules_of(spec(name)):
        lowered = lower_spec(spec(name), schedule)
        alone = emit_source(lowered, plan(lowered.program, "fp32"))
        kernels = [part for part in alone.text.split("\n\n\n") if "tl.program_id" in part]
        assert len(kernels) == len(alone.kernels)
        assert all(kernel in joined for kernel in kernels)
