"""The papers' figures: what is shown is what was counted, and what is counted is what a run takes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flashgen.cli.app import app
from flashgen.interpret.run import Traffic, lengths, run
from flashgen.ir.workload import Workload
from flashgen.paper import blocks, comparison, measured, memory, window
from flashgen.paper.main import FIGURES, figure
from flashgen.paper.page import files, page
from flashgen.paper.passes import PASSES, checked, tensors
from flashgen.paper.programs import FLASH1, FLASH2, PADDING, PAPER, STANDARD, lowered, totals
from flashgen.paper.tables import Cell, Column, Table, show
from flashgen.tune import compiling

SIDES = {"BLOCK_M": 16, "BLOCK_N": 32}
#: Tensors that hold elements of q's type, which are fp32 in a run here; lengths are int64.
FP32 = dict.fromkeys(("q", "k", "v", "o", "do", "dq", "dk", "dv", "P", "dS"), 4) | {"length": 8}


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def value(cell: str) -> Cell:
    """A cell of a CSV file as it was before it was written."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell or None


class Tables(HTMLParser):
    """The cells of a page's tables, by the tables' names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.rows = self.found.setdefault(str(dict(attrs)["data-name"]), [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.rows[-1][-1] += data


def tables_of(html: str) -> dict[str, list[list[str]]]:
    """Without their heads."""
    parser = Tables()
    parser.feed(html)
    return {name: rows[1:] for name, rows in parser.found.items()}


@pytest.mark.slow
def test_page_and_csv_show_every_number_of_every_table() -> None:
    sections = [figure(name) for name in FIGURES]
    made = files(sections)
    shown = tables_of(page(sections))
    for table in (t for s in sections for t in s.tables):
        head, *rows = read(made[f"{table.name}.csv"])
        assert head == [c.key for c in table.columns]
        assert [tuple(map(value, row)) for row in rows] == list(table.rows)
        assert shown[table.name] == [[show(value(cell)) for cell in row] for row in rows]
    assert len(made) == 1 + len(shown) == 8


@pytest.mark.parametrize("algorithm", [STANDARD, FLASH1, FLASH2], ids=lambda a: a[1])
def test_what_the_comparison_counts_is_what_a_run_takes(algorithm: tuple[str, str, str]) -> None:
    """The programs of the table, at a small shape that tiles do not divide."""
    q, k, v, do = torch.randn(4, 2, 2, 50, 64).unbind()
    given = {"q": q, "k": k, "v": v, "length": torch.tensor([50, 50]), "seed": torch.tensor([7])}
    w = Workload(**lengths(given))
    forward, backward = (lowered({**PADDING, "dropout": comparison.DROPOUT}, s) for s in algorithm[1:])
    for of in (forward, backward):
        seen = Traffic()
        result = run(of.program, SIDES, given, check=True, traffic=seen)
        said = totals(of, [SIDES] * len(of.program.kernels), w, FP32)
        assert said.requested == sum(seen.read.values()) + sum(seen.written.values())
        assert said.flops == seen.flops
        given |= {**result, "do": do}


def test_flops_follow_from_the_shape() -> None:
    """Six products of N x N by d with S made again in one more; nine where two kernels make S and dP."""
    product = 2 * PAPER.B * PAPER.Hq * PAPER.Nq * PAPER.Nk * 64 / 1e9
    flops = figure("comparison").tables[0].column("gflop")
    assert flops == pytest.approx([7 * product, 7 * product, 7 * product, 9 * product])


def test_nothing_is_fitted_to_what_the_paper_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other printed numbers change their own columns alone; the blocks are those of the paper's rule."""
    before = figure("comparison").tables[0]
    monkeypatch.setattr(comparison, "PRINTED", dict.fromkeys(comparison.PRINTED, (1.0, 2.0, 3.0)))
    after = comparison.section().tables[0]
    for column in before.columns:
        same = before.column(column.key) == after.column(column.key)
        assert same != column.key.startswith("paper_")
    assert comparison.paper_blocks("a100") == {"BLOCK_M": 64, "BLOCK_N": 256}


def test_larger_blocks_request_less() -> None:
    rows = figure("blocks").tables[0].rows
    for name in (FLASH1[0], FLASH2[0]):
        gb = [row[4] for row in rows if row[0] == name]
        assert gb == sorted(gb, key=lambda x: -float(x or 0))
        assert len(gb) == 6


def test_extra_memory_is_what_programs_allocate() -> None:
    """Four matrices of all pairs against three numbers of a row."""
    n, w = 1024, Workload(1, 16, 16, 1024, 1024)
    found = {
        a[0]: max(memory.extra_bytes(lowered({}, s).program, w) for s in a[1:]) for a in (STANDARD, FLASH2)
    }
    assert found[FLASH2[0]] == 16 * n * 3 * 4
    assert found[STANDARD[0]] == 16 * n * n * (4 + 4 + 2 + 2) + 16 * n * 3 * 4
    row = next(r for r in figure("memory").tables[0].rows if r[0] == n)
    assert row[2] == found[STANDARD[0]] / 2**20
    assert row[4] == found[FLASH2[0]] / 2**20


@pytest.mark.parametrize("width", [0, 5, 40, 99])
def test_visited_tiles_are_those_with_a_visible_pair(width: int) -> None:
    n, w = 100, Workload(1, 1, 1, 100, 100)
    q, k = torch.arange(n).view(-1, 1), torch.arange(n)
    seen = (q - k).abs() <= width
    assert window.visible(width, n) == int(seen.sum())
    tiles = [t.any() for rows in torch.split(seen, 16) for t in torch.split(rows, 32, -1)]
    of, full = lowered(window.band(width), "flash2"), lowered({}, "flash2")
    share = totals(of, [SIDES], w).flops / totals(full, [SIDES], w).flops
    assert share == int(torch.stack(tiles).sum()) / len(tiles)


@pytest.mark.parametrize(("passes", "words", "schedule"), PASSES, ids=lambda x: str(x))
def test_the_softmax_in_passes(passes: int, words: str, schedule: str) -> None:
    """Each gives torch.softmax, and S is read from memory once a pass; never, if there is but one."""
    n = 70
    ran = checked(lowered({}, schedule), tensors(n))
    assert ran.softmax_error < 2e-5
    assert ran.output_error < 1e-4
    assert ran.traffic.read["S"] == (0 if passes == 1 else passes) * 2 * n * n * 4
    assert ran.ran_bytes == ran.formula_bytes


def test_three_passes_know_a_sink() -> None:
    """Its weight stands under the maximum of the whole row, as two passes have it."""
    fields = {"sink": "sinks[h]", "inputs": {"sinks": {"shape": ["heads"]}}, "mask": "k <= qpos"}
    given = {**tensors(50), "sinks": torch.tensor([30.0, -5.0])}
    three, two = (run(lowered(fields, s).program, SIDES, given) for s in ("standard_three_pass", "standard"))
    assert torch.allclose(three["o"], two["o"], atol=1e-5)
    assert torch.allclose(three["lse"], two["lse"])


def test_numbers_are_shown_with_three_digits() -> None:
    cells: tuple[Cell, ...] = (None, 0.0, 7, 1237.4, 12.345, 0.01234, 2.9e-6, "x")
    table = Table("t", "T.", tuple(Column(str(i), "") for i in range(len(cells))), (cells,))
    assert table.shown == [["–", "0", "7", "1,237", "12.3", "0.0123", "2.9e-06", "x"]]
    assert not math.isnan(float(table.csv().split()[1].split(",")[1]))


#: Milliseconds of the forward by block (16 to 256) on an H100 80GB HBM3, torch 2.11.0, Triton 3.6.0.
MEASURED = {
    "FlashAttention": (15.9, 8.10, 4.31, 2.56, 2.14),
    "FlashAttention-2": (1.65, 1.24, 0.715, 0.663, 0.854),
}


@pytest.mark.parametrize(
    "name, least, most", [("FlashAttention", 0.55, 1.0), ("FlashAttention-2", 0.8, 1.25)]
)
def test_predictions_stay_near_what_an_h100_took(name: str, least: float, most: float) -> None:
    table = figure("blocks").tables[0]
    predicted = [
        x
        for n, x in zip(table.column("algorithm"), table.column("predicted_ms_h100"), strict=True)
        if n == name
    ]
    for p, m in zip(predicted, MEASURED[name], strict=False):
        assert isinstance(p, float)
        assert least < p / m < most


def refuse_wide_ones(jobs: list[compiling.Job], tell: Callable[[int], object]) -> list[str]:
    """In place of the compiler."""
    tell(len(jobs))
    return ["too wide" if max(dict(j.plan.kernels[j.kernel].sides).values()) > 128 else "" for j in jobs]


def answer(clock: measured.Clock, ask: measured.Ask) -> float | None:
    """In place of the device."""
    plans = ask.kernels[0]
    refused = [p for p in plans if clock._job(ask, 0, p) in clock.refused]
    assert refused in ([], list(plans)), "all have the same sides"
    return None if refused else 1.0 * dict(plans[0].sides)["BLOCK_M"]


def test_a_device_adds_a_column_of_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the device: what it measures is shown, and what it cannot run is not."""
    clock = measured.Clock("A GPU", "h100", ("cuda", 90, 32))
    monkeypatch.setattr(compiling, "compile_all", refuse_wide_ones)
    monkeypatch.setattr(clock, "_measured", lambda ask: answer(clock, ask))
    assert set(blocks.section(clock).tables[0].column("measured_ms")) == {None}
    clock.compile(lambda what, done, of: None)
    (table,) = blocks.section(clock).tables
    assert table.heads[-1] == "A GPU, measured, ms"
    rows = [int(str(tile).split("×")[0]) for tile in table.column("tiles")]
    small = [not {"256", "512"} & set(str(tile).split("×")) for tile in table.column("tiles")]
    assert True in small
    assert False in small
    assert table.column("measured_ms") == [m if ok else None for m, ok in zip(rows, small, strict=True)]
    assert "measured_ms" not in [c.key for c in figure("blocks").tables[0].columns]


def test_the_command_writes_them_and_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "clock_at_hand", lambda: None)  # where there is one, it takes minutes
    done = CliRunner().invoke(app, ["paper", "-o", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    assert all(figure(name).found in done.output for name in FIGURES)
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "made").iterdir()}
    assert written == files([figure(name) for name in FIGURES])
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(app, ["paper", "-o", str(tmp_path / "file")])
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
