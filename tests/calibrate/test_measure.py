"""Measuring, with stand-ins for the GPU; and the target that an unknown GPU starts from."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from flashgen.calibrate import measure
from flashgen.calibrate.measurements import Device
from flashgen.calibrate.start import nearest, reported, start_for
from flashgen.calibrate.write import yaml_text
from flashgen.plan.plan import MAX_SPILL_BYTES, Measured, Plan
from flashgen.targets.target import load_target, target_names

from .made import DEVICE, sample

H100 = load_target("h100")
#: Kernels of this BLOCK_N spill more than a call allows.
SPILLING = 64
PROPERTIES = SimpleNamespace(
    multi_processor_count=100, L2_cache_size=64 << 20, shared_memory_per_block_optin=99 << 10,
    clock_rate=2_500_000, memory_clock_rate=10_000_000, memory_bus_width=256,
)  # fmt: skip


class Tensors:
    """In place of tensors on a GPU: every kernel takes a microsecond, some cannot be loaded, or spill."""

    def __init__(self, place: measure.Place) -> None:
        self.place = place

    def load(self, plan: Plan, kernel: int) -> Any:
        if plan.kernels[kernel].num_warps == 1:
            return "OutOfResources"
        spill = MAX_SPILL_BYTES + 1 if dict(plan.kernels[kernel].sides)["BLOCK_N"] == SPILLING else 3
        return None, (SimpleNamespace(measured=Measured(1, 2, spill)),)

    def times(self, variants: Sequence[Any], kernel: int, rounds: int) -> list[float]:
        assert len(variants) <= measure.TOGETHER
        return [1.0 + self.place.work.Nq] * len(variants)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins for all that needs one; the compiled jobs."""
    compiled: list[Any] = []

    def compile_all(jobs: list[Any], workers: int | None, tell: Any) -> list[str]:
        compiled.extend(jobs)
        tell(len(jobs))
        return ["" if plan.kernels[0].num_stages > 1 else "refused" for _, _, plan in jobs]

    monkeypatch.setattr(measure, "_copy", lambda: 3000.0)
    monkeypatch.setattr(measure, "_matmul", lambda dtype: 700.0)
    monkeypatch.setattr(measure, "_ground", lambda place, dtype: Tensors(place))
    monkeypatch.setattr(measure, "job", lambda on, plan, kernel: (on.place.mask, on.place.head_dim, plan))
    monkeypatch.setattr(measure, "compile_all", compile_all)
    return compiled


def test_a_tiling_that_calls_would_run_is_compiled_once_and_timed_at_every_length(no_gpu: list[Any]) -> None:
    told: list[str] = []
    found = measure.measure(DEVICE, H100, 60, 1, lambda what, done, of: told.append(what))
    assert len(no_gpu) == len(set(no_gpu)) > 20
    lengths = measure.table()["seqlens"]
    assert {r.work.Nq for r in found.rows} == set(lengths)
    assert {r.mask for r in found.rows} == set(measure.table()["masks"])
    loaded = [k for _, _, p in no_gpu if (k := p.kernels[0]).num_warps > 1 and k.num_stages > 1]
    fine = [k for k in loaded if dict(k.sides)["BLOCK_N"] != SPILLING]
    assert len(found.rows) == len(fine) * len(lengths) < len(loaded) * len(lengths)
    assert all(r.us == 1.0 + r.work.Nq and r.compiled == Measured(1, 2, 3) for r in found.rows)
    assert (found.device.copy_gb_per_s, found.device.matmul_tflop_per_s) == (3000.0, 700.0)
    assert {"compiling", "timing"} <= set(told)


def test_out_of_time_the_first_length_is_whole_and_no_other_begun(no_gpu: list[Any]) -> None:
    found = measure.measure(DEVICE, H100, 0, 1, lambda what, done, of: None)
    first = measure.table()["seqlens"][0]
    assert {r.work.Nq for r in found.rows} == {first}
    assert {r.head_dim for r in found.rows} == set(measure.table()["head_dims"])


def test_the_sample_holds_the_best_of_every_length_and_slower_ones() -> None:
    plans = sample(H100, "", 64)
    assert 8 <= len(plans) == len({str(p.kernels[0]) for p in plans})
    predicted = [p.predicted_us for p in plans]
    assert max(predicted) > 1.2 * min(predicted)


def test_a_known_gpu_starts_from_its_file() -> None:
    assert start_for(Device("NVIDIA H100 80GB HBM3", "sm_90", "")) is load_target("h100")
    assert start_for(Device("whatever", "sm_00", ""), "a100") is load_target("a100")


def test_a_smaller_sibling_of_a_known_gpu_keeps_its_own_numbers() -> None:
    t = start_for(Device("NVIDIA H100 PCIe", "sm_90", "torch 1", {"sms": 114, "l2": 50 << 20}))
    assert (t.number("sms"), t.matrix) == (114, "wgmma")
    assert t.number("fp16_rate") == pytest.approx(H100.number("fp16_rate") * 114 / 132)
    assert "what it does not report is that of NVIDIA H100 SXM5" in t.description


def test_an_unknown_gpu_starts_from_the_nearest_architecture_and_what_it_reports() -> None:
    device = Device("NVIDIA New 1", "sm_91", "torch 1", reported(PROPERTIES))
    t = start_for(device)
    assert (t.arch, t.matrix) == ("sm_91", "wgmma")
    assert (t.number("sms"), t.number("l2"), t.smem_bytes) == (100, 64 << 20, 99 << 10)
    assert t.number("clock") == pytest.approx(2.5)
    assert t.number("hbm_rate") == pytest.approx(640)  # 10 GHz, twice a clock, 32 bytes
    near = load_target(nearest(device, [load_target("h100"), load_target("a100")])[0].name)
    assert t.number("bf16_rate") == pytest.approx(near.number("bf16_rate") * 100 / near.number("sms"))
    assert "NVIDIA New 1" in t.sources[t.numbers["sms"].source]
    assert near.name in t.sources[t.numbers["bf16_rate"].source]


@pytest.mark.parametrize(
    ("arch", "device", "name"),
    [
        ("sm_86", "NVIDIA GeForce RTX 3080", "rtx3090"),
        ("sm_86", "NVIDIA A40", "a10"),
        ("sm_89", "NVIDIA L40", "l40s"),
        ("gfx942", "Nothing", "mi300x"),
        ("gfx950", "Nothing", "mi300x"),
        ("sm_100", "Nothing", "b200"),
    ],
)
def test_the_nearest_is_of_the_same_maker(arch: str, device: str, name: str) -> None:
    gpus = [load_target(n) for n in target_names() if n != "cpu"]
    assert nearest(Device(device, arch, "", {"sms": 142}), gpus)[0].name == name


@pytest.mark.parametrize("name", [n for n in target_names() if n != "cpu"])
def test_every_target_can_be_written_and_read_again(name: str, tmp_path: Any) -> None:
    from flashgen.targets.target import read_target

    path = tmp_path / "again.yaml"
    path.write_text(yaml_text(load_target(name)), encoding="utf-8")
    assert read_target(path) == load_target(name)
