"""The CUDA path without a device: what is decided once a layout, and what a launch is handed.

A stand-in takes the place of the compiled kernel, and CPU tensors that of CUDA ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flashgen
from flashgen import driver
from flashgen.errors import PlanError, TensorError
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.plan import Measured
from flashgen.runtime import cuda, source, variants
from flashgen.runtime.ahead import tensors
from flashgen.runtime.cuda import CudaAttention
from flashgen.runtime.device import Known
from flashgen.runtime.launch import Compiled

from .specs import biased, inputs_of_biased, plain, qkv


class Device:
    """Pretends to compile and launch; remembers what it was given."""

    def __init__(self) -> None:
        self.built: list[tuple[Any, Any]] = []
        self.launched: list[Any] = []  # programs, stream and arguments
        self.ran: list[Any] = []  # the kernel of each launch
        self.smem = 1000
        self.refuse: Callable[[Any], int] = lambda _: 0  # spills of a kernel, in bytes

    def build(self, record: Any, kernel: Any, kinds: Any, gpu: Any = None) -> Any:
        self.built.append((record, kernel))
        return SimpleNamespace(metadata=SimpleNamespace(shared=self.smem), kernel=kernel)

    def loaded(self, built: Any) -> Compiled:
        def launch(*given: Any) -> None:
            self.launched.append(given)
            self.ran.append(built.kernel)

        return Compiled(launch, Measured(self.smem, 100, self.refuse(built.kernel)))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Device]:
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))  # what one device settles is not for another
    fake = Device()
    monkeypatch.setattr(variants, "build", fake.build)
    monkeypatch.setattr(variants, "loaded", fake.loaded)
    monkeypatch.setattr(variants, "current_gpu", lambda: None)
    monkeypatch.setattr(variants, "unsound", lambda target, code: "")
    monkeypatch.setattr(cuda, "target_of", lambda _: Known("h100", "sm_90", "", 232448))
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: None, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda _: 77, raising=False)
    return fake


def attention(spec: flashgen.AttentionSpec) -> CudaAttention:
    return CudaAttention(spec.canonical_json())


@pytest.mark.slow
def test_a_launch_gets_every_pointer_stride_and_length(device: Device) -> None:
    q, k, v = (t.bfloat16() for t in qkv(dv=24))
    inputs = inputs_of_biased(q, k)
    out, lse, low = attention(biased())(q, k, v, *inputs.values())
    given = {"q": q, "k": k, "v": v, **inputs, "o": out, "lse": lse, "lse_lo": low}
    kernel, (programs, stream, arguments) = device.ran[0], device.launched[0]
    assert stream == 77
    assert programs == kernel.programs({"B": 2, "Hq": 4, "Hkv": 2, "Nq": 9, "Nk": 13})
    assert len(arguments) == len(kernel.args)
    for a, number in zip(kernel.args, arguments, strict=True):
        if a.kind == "ptr":
            assert number == given[a.tensor].data_ptr()
        elif a.kind == "stride":
            assert number == given[a.tensor].stride(a.dim)
    assert (out.shape, lse.shape, lse.dtype) == ((2, 4, 9, 24), (2, 4, 9), torch.float32)


@pytest.mark.slow
def test_a_layout_is_prepared_once(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    attn, prepared = attention(plain()), []
    prepare = attn._prepare
    monkeypatch.setattr(attn, "_prepare", lambda *a: prepared.append(1) or prepare(*a))
    attn(*(t.half() for t in qkv()))
    built = len(device.built)
    for _ in range(2):
        attn(*(t.half() for t in qkv()))
    assert (len(prepared), len(device.built), len(device.launched)) == (1, built, 3)
    pointers = {launch[2][0] for launch in device.launched}
    assert device.launched[0][2] is not device.launched[1][2], "a launch's arguments are its own"
    assert pointers


def test_a_new_length_builds_nothing(device: Device) -> None:
    attn = attention(plain())
    attn(*(t.half() for t in qkv(nq=5, nk=7)))
    built = len(device.built)
    assert built
    for n in (1, 3, 8, 17, 64, 100, 129, 200):
        attn(*(t.half() for t in qkv(nq=n, nk=n)))
    assert len(device.launched) == 9
    assert len(device.built) == built


def test_a_later_process_lowers_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a first call decided is read from the cache: the compiler's levels are not walked again."""
    kept = [x for x in vars(source).values() if hasattr(x, "cache_clear")]
    assert source.lowered in kept

    def call_of_a_new_process() -> None:
        for function in kept:
            function.cache_clear()
        attention(plain())(*(t.half() for t in qkv()))

    call_of_a_new_process()
    monkeypatch.setattr(driver, "lower_spec", lambda *given: pytest.fail("lowered"))
    call_of_a_new_process()


@pytest.mark.parametrize("spec", [plain(), biased()], ids=lambda s: s.name)
def test_a_call_after_warming_builds_nothing(device: Device, spec: flashgen.AttentionSpec) -> None:
    attn, (q, k, v) = attention(spec), (t.half() for t in qkv(dv=spec.d_v))
    inputs = inputs_of_biased(q, k) if spec.inputs else {}
    dtypes = {name: t.dtype for name, t in inputs.items()}
    work = Workload(2, 4, 2, 9, 13)
    given = tensors(spec.canonical_json(), "flash2", work, torch.float16, dtypes)
    attn.warm(given, work, q.device.index)
    built = len(device.built)
    assert built
    attn(q, k, v, *inputs.values())
    assert len(device.built) == built
    assert device.launched


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 1, 8])
def test_alignment_is_told_apart(device: Device, shift: int) -> None:
    attn = attention(plain())
    q, k, v = (t.half() for t in qkv())
    attn(q, k, v)
    built = len(device.built)
    room = torch.empty(q.numel() + shift, dtype=q.dtype)
    attn(room[shift:].view_as(q), k, v)
    assert (len(device.built) > built) == (shift == 1)  # eight halves are 16 bytes


def test_layouts_kept_are_bounded(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LAYOUTS", 3)
    attn = attention(plain())
    for n in (1, 2, 3, 4, 5):
        attn(*(t.half() for t in qkv(nq=n)))
    assert len(attn._calls) == 3


def refuse_the_first(device: Device, spill: int) -> list[Any]:
    """Those of the first compiles, which will be found to spill so much."""
    first: list[Any] = []

    def refuse(kernel: Any) -> int:
        if not first:
            first.extend([k for _, k in device.built])
        return spill if kernel in first else 0

    device.refuse = refuse
    return first


def test_kernels_that_spill_give_way_to_others(device: Device) -> None:
    first = refuse_the_first(device, 300)
    attention(plain())(*(t.half() for t in qkv()))
    assert device.ran[0] not in first
    assert first, "some were refused"


def test_where_overlapped_iterations_spill_far_too_much_none_overlap(device: Device) -> None:
    device.refuse = lambda kernel: 4000 if kernel.num_stages > 1 else 0
    attention(plain(head_dim=64))(*(t.half() for t in qkv(d=64, dv=64)))
    assert device.ran[0].num_stages == 1


def test_where_none_compiles_the_reasons_are_said(device: Device) -> None:
    device.smem = 300_000
    with pytest.raises(
        PlanError, match=r"no candidate for fp16 on h100(.|\n)*300000 B of shared memory, above"
    ):
        attention(plain())(*(t.half() for t in qkv()))
    assert not device.launched


@pytest.mark.parametrize("sizes", [{"nk": 0}, {"nq": 0}, {"b": 0}], ids=str)
def test_nothing_is_launched_for_nothing(device: Device, sizes: dict[str, int]) -> None:
    q, k, v = qkv(**sizes)
    out, lse = attention(plain())(q, k, v)
    assert not device.built
    assert not out.any()
    assert torch.isneginf(lse).all()


def test_checks_come_before_everything(device: Device) -> None:
    q, k, v = qkv()
    with pytest.raises(TensorError, match="q has 3 heads"):
        attention(plain())(q[:, :3], k, v)
    with pytest.raises(TensorError, match=r"plain takes 3 tensors \['q', 'k', 'v'\], got 2"):
        attention(plain())(q, k)
    backward = CudaAttention(plain().canonical_json(), "backward")
    with pytest.raises(TensorError, match=r"do is torch.float32 of shape \[2, 4, 9, 8\].*\[2, 4, 9, 16\]"):
        backward(q[..., :8], q, k, v, q, q[..., 0].contiguous())
    assert not device.built


@pytest.mark.slow
def test_results_lie_as_q_does(device: Device) -> None:
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in qkv())
    out, _ = attention(plain())(q, k, v)
    assert out.stride() == q.stride()


def test_a_first_call_compiles_one_candidate_a_kernel(device: Device) -> None:
    attention(plain(head_dim=64))(*(t.half() for t in qkv(d=64, dv=64)))
    assert [k for _, k in device.built] == device.ran


def test_a_plan_found_by_measuring_runs_as_it_is(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, q = plain(head_dim=64), qkv(d=64, dv=64)
    plan = variants.best_plan(spec.canonical_json(), "h100", "fp16", LONG)
    sides = (("BLOCK_M", 16), ("BLOCK_N", 16))  # which the model would never choose
    kernel = replace(plan.kernels[0], sides=sides, num_warps=1, loads="pointer", max_registers=0)
    tuned = replace(plan, kernels=(kernel,), workload=Workload(2, 4, 2, 9, 13), measured_us=(1.0,))
    monkeypatch.setattr(variants, "measured", lambda *_: (tuned,))
    attention(spec)(*(t.half() for t in q))
    assert device.ran[0].sides == dict(sides)
