"""Targets and sizes: every number has a unit and a source, and mistakes are answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from flashgen.cli.app import app
from flashgen.errors import PlanError
from flashgen.resources import folder
from flashgen.size import counted, parse_size, show_amount, show_size
from flashgen.targets.target import load_target, read_target, target_names

ADA = {"l4", "l40s", "rtx4060", "rtx4090"}
NAMES = {"h100", "h200", "a100", "b200", "rtx3090", "rtx5090", "t4", "mi300x", "cpu", "a10"} | ADA


def test_the_targets_are_there() -> None:
    assert set(target_names()) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_number_has_a_unit_and_a_source(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    for number in target.numbers.values():
        assert number.unit
        assert len(target.sources[number.source]) > 10
    assert set(target.sources) == {n.source for n in target.numbers.values()}, "a source nobody cites"


def test_shared_memory_a_block_may_use() -> None:
    sizes = {n: load_target(n).smem_bytes for n in NAMES - {"cpu"}}
    assert sizes["h100"] == sizes["h200"] == sizes["b200"] == 227 * 1024
    assert sizes["a100"] == 163 * 1024
    assert {sizes[n] for n in ADA | {"rtx3090", "rtx5090", "a10"}} == {99 * 1024}
    assert sizes["t4"] == sizes["mi300x"] == 64 * 1024


def test_an_unknown_target_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"unknown target 'H10'; did you mean h100\?.*a100.*t4"):
        load_target("H10")


@pytest.mark.parametrize("name", sorted(NAMES - {"cpu", "mi300x"}))
def test_rates_are_those_of_the_clock_and_the_sms(name: str) -> None:
    """A rate copied with sparsity, or of another GPU's SMs, is off by a factor of two or more."""
    t = load_target(name)
    lanes = t.flops_per_clock("fp32") / 2
    assert lanes == pytest.approx(t.number("vector_per_clock"), rel=0.2)
    dots = t.flops_per_clock("fp16")
    assert any(dots == pytest.approx(n, rel=0.2) for n in (512, 1024, 2048, 4096, 8192)), dots


@pytest.mark.parametrize("name, arch", [("v100", "sm_70"), ("V100", "sm_70"), ("p100", "sm_60")])
def test_a_gpu_that_nothing_compiles_for_is_refused_with_the_reason(name: str, arch: str) -> None:
    with pytest.raises(
        PlanError, match=rf"{name.lower()} is {arch}, and Triton compiles for sm_75 or later"
    ) as e:
        load_target(name)
    assert "--target cpu" in str(e.value), "what works there"
    assert "scaled_dot_product_attention" in str(e.value)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("name, misspelt", [("clock", "clokc"), ("bf16_rate", "bf61_rate")])
def test_a_misspelt_number_is_named(tmp_path: Path, name: str, misspelt: str, partial: bool) -> None:
    text = (folder("specs") / "targets" / "h100.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(f"  {name}: {{value", f"  {misspelt}: {{value"), encoding="utf-8")
    with pytest.raises(PlanError, match=rf"no number is called '{misspelt}'; did you mean {name}\?"):
        read_target(path, partial)


def test_the_list_of_targets_knows_names_as_plans_do() -> None:
    refused = CliRunner().invoke(app, ["targets", "h10"])
    assert refused.exit_code == 1
    assert "unknown target 'h10'; did you mean h100?" in " ".join(refused.output.split())


def test_times_that_nobody_measured_are_said_to_be() -> None:
    assert load_target("h100").notes() == []
    assert any("data sheets alone" in n for n in load_target("mi300x").notes())


def test_a_missing_number_names_the_prediction_it_disables(tmp_path: Path) -> None:
    text = (folder("specs") / "targets" / "h100.yaml").read_text(encoding="utf-8")
    without = "\n".join(line for line in text.splitlines() if not line.strip().startswith("l2_rate:"))
    path = tmp_path / "mine.yaml"
    path.write_text(without, encoding="utf-8")
    with pytest.raises(
        PlanError, match=r"mine\.yaml cannot be planned for.*l2_rate \(GB/s\): no time of the loads$"
    ):
        read_target(path)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("unit: GHz", "unit: MHz", r"clock is in 'MHz', expected 'GHz'"),
        ("backend: triton", "backend: cuda", r"backend"),
        ("name: h100", "nom: h100", r"name"),
        ("source: clock", "source: hearsay", r"source 'hearsay' is not among"),
        ("name: h100", "name: [h100", r"mine\.yaml"),
        ("sms: {value: 132", "sms: {value: 0", r"mine\.yaml: numbers\.sms is 0 SM, expected more than zero"),
        ("sms: {value: 132", "sms: {value: -3", r"numbers\.sms is -3 SM, expected more than zero"),
        ("sms: {value: 132", "sms: {value: .nan", r"numbers\.sms is nan SM, expected a finite number"),
        ("hbm_rate: {value: 3352", "hbm_rate: {value: .inf", r"hbm_rate is inf GB/s, expected a finite"),
        ("sms: {value: 132", "sms: {value: 1.5", r"numbers\.sms is 1\.5 SM, expected a whole number"),
        ("sms: {value: 132", "sms: {value: true", r"numbers\.sms\.value is True, expected a number"),
        (
            "sms: {value: 132",
            f"sms: {{value: 1{30 * '0'}",
            r"numbers\.sms is 1e\+30 SM, expected at most 1e\+15",
        ),
        ("sms: {value: 132", "sms: {value: many", r"numbers\.sms\.value is 'many', expected a number"),
        ("block: {value: 1024", "block: {value: -1", r"_block is -1 bytes, expected zero or more"),
        ("hbm_sustained: {value: 0.9", "hbm_sustained: {value: 9", r"hbm_sustained is 9 .*at most 1"),
        ("smem_per_sm: {value: 233472", "smem_per_sm: {value: 1024", r"expected at most smem_per_sm, 1024"),
        ("arch: sm_90", "arch: sm_33", r"arch is 'sm_33', and Triton compiles for sm_75 or later"),
        ("arch: sm_90", "arch: hopper", r"arch is 'hopper', expected sm_NN"),
        ("warp_size: 32", "warp_size: 0", r"warp_size is 0, expected 32 or 64"),
    ],
)
def test_a_wrong_target_file_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (folder("specs") / "targets" / "h100.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PlanError, match=said):
        read_target(path)


@pytest.mark.parametrize("content", ["", "# later\n", "- a\n", "h100\n"])
def test_a_file_without_fields_is_told_what_was_expected(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PlanError, match=r"mine\.yaml: holds .*, expected fields, one a line$") as e:
        read_target(path)
    assert "instance" not in str(e.value)


def test_stated_shared_memory_is_compared_with_the_real() -> None:
    (least,) = load_target("h100", 64 << 10).notes()
    assert "an SM has 65 KiB of shared memory here" in least
    _, note = load_target("h100", 1 << 20).with_sram(2 << 20).notes()
    assert "2 MiB" in note
    assert "227 KiB of a real h100" in note
    with pytest.raises(PlanError, match="target cpu runs no thread blocks"):
        load_target("cpu", 1 << 20)


@pytest.mark.parametrize("n, said", [(0, "0 warps"), (1, "1 warp"), (8, "8 warps"), (4096, "4,096 warps")])
def test_counts(n: int, said: str) -> None:
    assert counted(n, "warp") == said


@pytest.mark.parametrize(
    "text, size",
    [
        ("96KiB", 98304),
        ("64 kb", 64000),
        ("1.5MiB", 1572864),
        ("232448", 232448),
        (" 7 B ", 7),
        (512, 512),
        ("64K", 65536),
        ("2m", 2 << 20),
        ("1GiB", 1 << 30),
        ("1G", 1 << 30),
        ("1gb", 10**9),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "KiB", "-1KiB", "0", "1.3B", "12 parsecs", "1e3", "1_000", "9" * 40, "٣KiB"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PlanError, match="96KiB"):
        parse_size(text)


@given(st.integers(1, 1 << 30))
@example(194_693_632)  # 190130.5 KiB
def test_shown_sizes_read_back(size: int) -> None:
    assert parse_size(show_size(size).replace(",", "")) == size


def test_planning_imports_neither_torch_nor_triton_nor_sympy() -> None:
    code = (
        "import sys, flashgen.plan.search, flashgen.plan.select, flashgen.targets.target as t; "
        "t.load_target('h100'); print({'torch', 'triton', 'sympy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "amount, unit, prefix, shown",
    [
        (35.17e9, "B", "G", "35.17 GB"),
        (1.6e12, "B", "G", "1,600.00 GB"),
        (0.27e9, "B", "G", "0.27 GB"),
        (65_792, "B", "G", "65.79 KB"),
        (2.097152e6, "FLOP", "T", "2.10 MFLOP"),
        (12, "", "G", "12"),
        (0, "B", "G", "0 B"),
    ],
)
def test_what_is_small_has_a_smaller_prefix(amount: float, unit: str, prefix: str, shown: str) -> None:
    assert show_amount(amount, unit, prefix) == shown
