"""The fit finds numbers again from what the time model makes of them, and the files it reads and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashgen.calibrate.fit import descend, error, fit, with_values
from flashgen.calibrate.measurements import Measurements
from flashgen.calibrate.write import sourced, write
from flashgen.cli.app import app
from flashgen.errors import PlanError
from flashgen.targets.target import load_target, read_target

from .made import DEVICE, made

TRUTH = {"clock": 1.55, "l2_rate": 5200.0, "latency": 0.2, "launch": 2.4}
SHARES = {"sustained": 742 / 989.4, "hbm_sustained": 3017 / 3352}


@pytest.fixture(scope="module")
def found() -> Measurements:
    return made(TRUTH | SHARES)


@pytest.mark.slow
def test_known_numbers_are_found_again(found: Measurements) -> None:
    f = fit(load_target("h100"), found)
    for name, value in TRUTH.items():
        assert f.target.number(name) == pytest.approx(value, rel=0.02), name
    assert f.before.rms > 0.1
    assert f.after.rms < 0.003
    assert f.target.number("hbm_sustained") == pytest.approx(3017 / 3352, abs=1e-4)


def test_a_few_wild_times_do_not_move_the_rest(found: Measurements) -> None:
    rows = tuple(replace(r, us=r.us * (3 if i % 16 == 0 else 1)) for i, r in enumerate(found.rows))
    start = with_values(load_target("h100"), {n: TRUTH[n] for n in ("l2_rate", "latency")})
    f = fit(start, replace(found, rows=rows), ("clock", "launch"))
    assert f.target.number("launch") == pytest.approx(TRUTH["launch"], rel=0.05)
    assert f.target.number("clock") == pytest.approx(TRUTH["clock"], rel=0.03)
    assert f.target.number("latency") == TRUTH["latency"]
    assert f.after.rms > 0.2


def test_a_share_is_fitted_where_it_is_named_and_stays_a_share(found: Measurements) -> None:
    fast = replace(found, rows=tuple(replace(r, us=r.us / 4) for r in found.rows if r.work.Nq > 1024))
    start = with_values(load_target("h100"), {"sustained": 0.1})  # so low that it is what limits
    f = fit(start, fast, ("sustained", "launch"))
    assert f.target.number("sustained") == 1.0
    assert f.after.rms < f.before.rms


def test_the_search_goes_to_the_least_place_of_its_box() -> None:
    valley = (1.3, -0.4)

    def loss(x: Sequence[float]) -> float:  # a narrow one, slanted, with a kink
        a, b = x[0] - valley[0], x[1] - valley[1]
        return (a + b) ** 2 + 0.05 * (a - b) ** 2 + 0.01 * abs(a)

    assert descend(loss, [3, 3]) == pytest.approx(valley, abs=0.01)
    assert descend(loss, [1, 3])[0] == 1


def test_errors_are_means_of_logarithms_and_the_worst_case(found: Measurements) -> None:
    one, *rest = found.rows[:8]
    target = with_values(load_target("h100"), TRUTH | SHARES)
    e = error(target, [replace(one, us=2 * one.us), *rest])
    assert e.mean == pytest.approx(0.5 ** (1 / 8), rel=0.01)
    assert e.rms == pytest.approx(math.log(2) / math.sqrt(8), rel=0.02)
    assert e.worst == pytest.approx(0.5, rel=0.01)
    assert e.case == one.label


@pytest.mark.parametrize("names", [(), ("clock", "colour")])
def test_what_is_no_number_cannot_be_fitted(found: Measurements, names: tuple[str, ...]) -> None:
    with pytest.raises(PlanError, match=r"cannot be fitted; it can be any of .*l2_rate"):
        fit(load_target("h100"), found, names)


def test_too_few_measurements_are_refused(found: Measurements) -> None:
    with pytest.raises(PlanError, match="3 measurements are too few to fit clock"):
        fit(load_target("h100"), replace(found, rows=found.rows[:3]), ("clock",))


def test_measurements_come_back_from_their_file(found: Measurements, tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    found.write(path)
    again = Measurements.read(path)
    assert again.device == DEVICE
    assert [replace(r, us=0) for r in again.rows] == [replace(r, us=0) for r in found.rows]
    assert [r.us for r in again.rows] == pytest.approx([r.us for r in found.rows], abs=1e-3)
    path.write_text("mask,us\n,1\n", encoding="utf-8")
    with pytest.raises(PlanError, match=r"measured\.csv is no file of measurements"):
        Measurements.read(path)


def test_the_new_target_file_cites_what_was_measured(found: Measurements, tmp_path: Path) -> None:
    f = fit(load_target("h100"), found, ("clock", "launch"))
    path = tmp_path / "my_gpu.yaml"
    write(sourced(f, found), path)
    mine = read_target(path)
    assert mine.name == "my_gpu"
    assert {n: x.value for n, x in mine.numbers.items()} == {n: x.value for n, x in f.target.numbers.items()}
    assert mine.matrix == "wgmma"
    assert mine.descriptors
    assert mine.register_caps
    said = mine.sources[mine.numbers["clock"].source]
    assert "Some GPU, torch 1, triton 2" in said
    assert "head dims 64, 256; lengths 128 to 8,192; bf16" in said
    assert "3,017 of 3,352 GB/s" in mine.sources[mine.numbers["hbm_sustained"].source]
    assert mine.numbers["l2_rate"].source == "l2"
    assert set(mine.sources) == {n.source for n in mine.numbers.values()}


def test_the_command_fits_again_without_a_gpu(found: Measurements, tmp_path: Path) -> None:
    measured, path = tmp_path / "measured.csv", tmp_path / "my_gpu.yaml"
    found.write(measured)
    asked = ["calibrate", "--target", "h100", "--measurements", str(measured), "-o", str(path)]
    done = CliRunner().invoke(app, [*asked, "--fit", "launch,clock"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert f"{len(found.rows)} kernels" in done.output
    assert f"--target {path}" in done.output
    assert load_target(str(path)).number("clock") < 1.7


def test_without_a_gpu_the_answer_says_what_would_work(tmp_path: Path) -> None:
    missing = tmp_path / "measured.csv"
    done = CliRunner().invoke(app, ["calibrate", "--measurements", str(missing)])
    assert done.exit_code == 1
    assert "torch finds none; --measurements FILE" in " ".join(done.output.split())
