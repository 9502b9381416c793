"""From a generated module to a compiled kernel, as far as that goes without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import flashgen
from flashgen.backends.triton.specialise import Kind, contiguous, describable_loads, specialise
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.errors import PlanError, TensorError
from flashgen.ir.workload import LONG, Workload
from flashgen.runtime import launch, source
from flashgen.runtime.arguments import check_reach, values
from flashgen.runtime.device import Known, match
from flashgen.runtime.record import Record, size, value
from flashgen.runtime.signature import signature
from flashgen.runtime.variants import kind

from .specs import biased, inputs_of_biased, plain, qkv

WORK = Workload(2, 4, 2, 9, 13)


def record(spec: flashgen.AttentionSpec, dtype: str = "bf16") -> Record:
    return flashgen.compile(spec, "h100").source(dtype=dtype)


def tensors(dtype: torch.dtype = torch.bfloat16, **sizes: int) -> dict[str, torch.Tensor]:
    """A call of ``biased`` with its results."""
    q, k, v = (t.to(dtype) for t in qkv(dv=24, **sizes))
    o, lse = q.new_empty(*q.shape[:3], 24, device="meta"), q.new_empty(q.shape[:3], device="meta")
    rows = dict.fromkeys(("lse", "lse_lo"), lse.float())
    return {"q": q, "k": k, "v": v, **inputs_of_biased(q, k), "o": o, **rows}


def kinds(given: dict[str, torch.Tensor]) -> dict[str, Kind]:
    return {n: kind(n, t, free=n in ("slopes", "bias", "lengths")) for n, t in given.items()}


@pytest.mark.slow
@pytest.mark.parametrize("spec", [plain, biased])
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(spec: object) -> None:
    backends = pytest.importorskip("triton.backends.compiler")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("an interpreted process compiles nothing")
    made = record(spec())  # type: ignore[operator]
    before = launch.compilations
    built = launch.build(made, made.kernels[0], kinds(tensors()), backends.GPUTarget("cuda", 90, 32))
    assert launch.compilations == before + 1
    assert 0 < built.metadata.shared <= 232448
    assert built.metadata.num_warps == made.kernels[0].num_warps


@pytest.mark.parametrize("spec", [plain, biased])
def test_what_is_compiled_without_tensors_is_what_a_call_on_contiguous_ones_compiles(spec: object) -> None:
    made = spec()  # type: ignore[operator]
    given = tensors(hq=16, hkv=16, nq=64, nk=64)
    args = record(made).kernels[0].args
    assert specialise(args, contiguous(lower_spec(made).program, "bf16")) == specialise(args, kinds(given))


@pytest.mark.slow
def test_lengths_change_nothing_that_is_compiled_in() -> None:
    """Over many lengths, and lengths only, a kernel has one specialisation (inputs without a k dim)."""
    spec = plain(score="s + slopes[h]", inputs={"slopes": {"shape": ["heads"]}})
    kernel = record(spec).kernels[0]
    seen = set()
    for n in (1, 2, 7, 8, 15, 16, 17, 100, 1023, 1024):
        given = tensors(nq=n, nk=n + 3)
        types, constants, attributes = specialise(kernel.args, kinds(given))
        seen.add(str((types, constants, attributes)))
    assert len(seen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_loops_use_descriptors_only_where_all_that_they_read_by_them_is_describable(schedule: str) -> None:
    spec = plain(dropout=0.1)
    given = {
        n: Kind("*bf16", 2, True, True, described=True)
        for n in signature(spec.canonical_json()).given(schedule)
    }
    boxes = source.boxes(spec.canonical_json(), schedule)
    assert describable_loads(boxes, given)
    found = source.best_plan(spec.canonical_json(), "h100", "bf16", LONG, schedule)
    by_descriptor = replace(found, kernels=tuple(replace(k, loads="descriptor") for k in found.kernels))
    kernels = source.generated(spec.canonical_json(), by_descriptor).kernels
    read = {a.tensor for k in kernels for a in k.args if a.kind == "descriptor"}
    assert read or schedule.startswith("standard")
    for name in read:
        assert not describable_loads(boxes, given | {name: replace(given[name], described=False)}), name


def test_a_few_modules_serve_every_length() -> None:
    text = plain().canonical_json()
    lengths = [*range(1, 70), 127, 128, 129, 1000, 4096, 5000, 16384, 100_000]
    plans = {
        source.best_plan(text, "h100", "bf16", Workload(b, 16, 16, n, n)).kernels
        for n in lengths
        for b in (1, 4, 64)
    }
    assert len(plans) <= 5


def test_alignment_and_unit_strides_are_compiled_in() -> None:
    kernel = record(biased()).kernels[0]
    given = tensors(nk=16)
    by_name = {a.name: i for i, a in enumerate(kernel.args)}
    types, constants, attributes = specialise(kernel.args, kinds(given))
    bias_k = next(a for a in kernel.args if a.tensor == "bias" and a.dim == 2)
    assert (types[bias_k.name], constants[(by_name[bias_k.name],)]) == ("constexpr", 1)
    assert attributes[(by_name["q_ptr"],)] == [["tt.divisibility", 16]]
    odd = torch.empty(given["q"].numel() + 1, dtype=torch.bfloat16)[1:].view_as(given["q"])
    broadcast = given["bias"][:, :, :1].expand_as(given["bias"])
    types, constants, attributes = specialise(kernel.args, kinds({**given, "q": odd, "bias": broadcast}))
    assert types[bias_k.name] in ("i32", "i64")
    assert (by_name["q_ptr"],) not in attributes


def test_only_a_unit_stride_that_is_compiled_in_is_left_out_of_alignment() -> None:
    """A Toeplitz bias has the stride 1 along q too, where it is an argument like any other."""
    bias = torch.empty(4096).as_strided((2, 9, 16), (2048, 1, 1))
    kernel = record(biased()).kernels[0]
    _, constants, attributes = specialise(kernel.args, kinds({**tensors(nk=16), "bias": bias}))
    at = {a.dim: (i,) for i, a in enumerate(kernel.args) if a.kind == "stride" and a.tensor == "bias"}
    assert constants[at[2]] == 1
    assert at[0] not in attributes
    assert at[1] not in attributes


def test_strides_that_are_lengths_are_not_looked_at() -> None:
    """Those of lse: a length that is a multiple of 4 would compile a kernel anew."""
    assert not kinds(tensors(nq=16))["lse"].strides_aligned
    assert kinds(tensors(nq=16))["o"].strides_aligned


def test_arguments_are_the_layouts_numbers() -> None:
    made = record(biased())
    given = tensors()
    strides = {n: t.stride() for n, t in given.items()}
    listed = values(made.kernels[0].args, strides, WORK, made.plan, 0)
    for a, number in zip(made.kernels[0].args, listed, strict=True):
        match a.kind:
            case "ptr":
                assert number is None
            case "stride":
                assert number == given[a.tensor or ""].stride(a.dim or 0)
            case "length":
                assert number == WORK.names()[a.name]
    rows = made.kernels[0].sides["BLOCK_M"]
    assert made.kernels[0].programs(WORK.names()) == 2 * 4 * -(-9 // rows)


def test_a_stride_too_long_for_a_tile_is_refused() -> None:
    made = record(plain())
    far = torch.empty_strided((1, 1, 2, 16), (1 << 40, 1 << 40, 1 << 30, 1), device="meta")
    q, k, v = qkv(1, 1, 1, 2, 2)
    check_reach(made.kernels[0].args, {"q": q, "k": k, "v": v})
    with pytest.raises(TensorError, match=r"k has strides .*32-bit. k.contiguous\(\) would work"):
        check_reach(made.kernels[0].args, {"q": q, "k": far, "v": v})


def test_sizes_as_json_mean_what_they_meant() -> None:
    from flashgen.expr import algebra as al
    from flashgen.expr.nodes import Var

    e = al.add(al.cdiv(Var("Nq", "int"), Var("BLOCK_M", "int")), al.integer(3))
    assert value(size(e), {"Nq": 65, "BLOCK_M": 32}) == 6


TARGETS = {
    n: Known(n, a, "GeForce" if n.startswith("rtx") else "", 1, sms)
    for n, a, sms in (
        *(("h100", "sm_90", 132), ("h200", "sm_90", 132), ("t4", "sm_75", 40)),
        *(("l4", "sm_89", 58), ("l40s", "sm_89", 142), ("rtx4060", "sm_89", 24), ("rtx4090", "sm_89", 128)),
    )
}


@pytest.mark.parametrize(
    "device,arch,name",
    [
        ("NVIDIA H100 80GB HBM3", "sm_90", "h100"),
        ("NVIDIA H200", "sm_90", "h200"),
        ("Tesla T4", "sm_75", "t4"),
        ("NVIDIA L4", "sm_89", "l4"),
        ("NVIDIA L40S", "sm_89", "l40s"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "sm_89", "rtx4060"),
        ("NVIDIA L40", "sm_89", "l40s"),  # no l4: 142 SMs
        ("NVIDIA GeForce RTX 4080", "sm_89", "rtx4090"),
    ],
)
def test_a_device_is_known_by_architecture_and_name(device: str, arch: str, name: str) -> None:
    assert match(device, arch, TARGETS, 142).name == name


def test_an_unknown_device_is_refused_with_what_would_work() -> None:
    with pytest.raises(PlanError, match=r"no target describes Foo \(sm_99\).*specs/targets"):
        match("Foo", "sm_99", TARGETS)


def test_the_interpreter_runs_the_module_as_the_runtime_launches_it() -> None:
    """In a process of its own: the variable must be set before Triton is imported."""
    code = (
        "import torch, flashgen\n"
        "from flashgen.ir.workload import Workload\n"
        "from flashgen.runtime import op, source\n"
        "from flashgen.runtime.interpreted import run_interpreted\n"
        "from tests.runtime.specs import inputs_of_biased, learned, qkv\n"
        "q, k, v = qkv(b=1, dv=24)\n"
        "q = q.transpose(1, 2).contiguous().transpose(1, 2)\n"
        "text, inputs = learned(dropout=0.25).canonical_json(), list(inputs_of_biased(q, k).values())\n"
        "sig, seed = flashgen.compile(learned(dropout=0.25)).signature, torch.tensor([7])\n"
        "def interpreted(schedule, *tensors):\n"
        "    plan = source.best_plan(text, 'h100', 'fp32', Workload(1, 12, 12, 128, 128), schedule)\n"
        "    return run_interpreted(source.generated(text, plan), sig, *tensors)\n"
        "def same(found, want):\n"
        "    for a, b in zip(found, want, strict=True):\n"
        "        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)\n"
        "        assert a.stride() == b.stride()\n"
        "out, lse, rest = op.attention(q, k, v, inputs, text, seed)\n"
        "saved = (out, lse, *rest)\n"
        "same(interpreted('flash2', q, k, v, *inputs, seed), saved)\n"
        "do, dlse = torch.randn_like(saved[0]), torch.randn_like(saved[1])\n"
        "dq, dk, dv, found = op.attention_backward(do, dlse, q, k, v, inputs, out, lse, rest, text, seed)\n"
        "given = (do, dlse, q, k, v, *inputs, *saved, seed)\n"
        "same(interpreted('backward_lse', *given), [dq, dk, dv, *found])\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_the_interpreter_that_is_an_error() -> None:
    from flashgen.runtime.interpreted import run_interpreted

    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("this process is interpreted")
    attn = flashgen.compile(plain(), "h100")
    with pytest.raises(flashgen.FlashgenError, match="TRITON_INTERPRET=1"):
        run_interpreted(attn.source(), attn.signature, *qkv())
