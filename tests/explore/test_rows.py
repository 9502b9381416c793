"""What is stored of candidates gives the planner's times, and no source that a page shows is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flashgen.cli.app import app
from flashgen.driver import lower_spec
from flashgen.explore.page import page
from flashgen.explore.papers import papers
from flashgen.explore.requests import counted
from flashgen.explore.rows import rows_of
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Measured
from flashgen.plan.search import candidates, promise
from flashgen.runtime.tuned import file_name
from flashgen.spec.gallery import find
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target
from flashgen.tune.search import Ranking, Timed
from flashgen.tune.timings import remember

from .pages import KIB, WORK, data, planned, question, requests

ROWS = {
    target: rows_of(q.lowered.program, 0, q.target, q.dtype, WORK, q.most, {})
    for target in ("h100", "a100")
    for q in (question(target=target),)
}


@given(target=st.sampled_from(sorted(ROWS)), sram=st.integers(2 * KIB, 512 * KIB))
@settings(max_examples=15)
def test_times_are_the_planners_at_any_sram(target: str, sram: int) -> None:
    asked = question(target=target)
    rows = {row.plan: row for row in ROWS[target]}
    for c in planned("flash2", 0, sram, target):
        if c.cost:
            row = rows[c.plan]
            found = row.time(sram, asked.target)
            assert found is not None
            assert (found.us, found.promise) == (c.cost.us, promise(c))
            assert (row.smem_bytes, row.registers) == (c.smem_bytes, c.registers)
        elif c.too_big:
            assert rows[c.plan].time(sram, asked.target) is None


@pytest.mark.slow
@pytest.mark.parametrize("sram", [16, 24, 48, 99, 163, 227, 300, 512])
def test_the_best_of_every_cell_has_its_source(sram: int) -> None:
    stored = {row["name"]: row for row in data("flash2")["kernels"][0]["rows"]}
    seen = set()
    for c in planned("flash2", 0, sram * KIB):
        cell = c.plan.sides
        if not c.rejected and cell not in seen:
            seen.add(cell)
            assert stored[str(c.plan)]["source"], c.plan


def test_the_slider_knows_every_kib_and_no_end_of_them() -> None:
    asked = question()
    assert set(asked.sizes()) == {asked.target.smem_bytes, *range(16 * KIB, 512 * KIB + 1, KIB)}
    huge = replace(asked, target=asked.target.with_sram(1 << 40))
    assert len(huge.sizes()) < 40_000
    assert max(huge.sizes()) >= 1 << 40


def test_requested_bytes_are_counted_or_said_not_to_be() -> None:
    row = next(r for r in ROWS["h100"] if r.times and dict(r.plan.sides) == {"BLOCK_M": 128, "BLOCK_N": 32})
    assert row.requested_bytes == requests(row.plan)
    assert data("flash2")["kernels"][0]["counted"]
    inputs = {"bias": {"shape": ["heads", 8], "grad": True}}
    score = "s + bias[h, min(max(k - q, 0), 7)]"
    spec = AttentionSpec(name="by_distance", head_dim=32, score=score, inputs=inputs)
    table = lower_spec(spec, "backward").program
    assert not counted(table, 0, WORK)
    causal = lower_spec(load_spec(find("causal"))).program
    assert counted(causal, 0, WORK)
    assert not counted(causal, 0, Workload(1, 1, 1, 10**11, 10**11)), "more tiles than can be added up"


def test_no_text_of_a_spec_ends_the_data() -> None:
    hostile = {**data("flash2"), "title": "</script><script>alert(1)</script>&<b>"}
    text = page(hostile)
    assert "</script><script>alert" not in text
    assert text.count("</script>") == 2
    start = text.index('type="application/json">') + len('type="application/json">')
    assert json.loads(text[start : text.index("</script>", start)]) == json.loads(json.dumps(hostile))


@pytest.mark.slow
def test_a_page_asks_for_nothing_and_stays_small() -> None:
    text = page(data("backward"))
    assert "default-src 'none'" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert len(text) < 3e6


def test_the_papers_curves_are_theirs() -> None:
    spec = question().lowered.spec
    n, d, heads, item = 4096, 64, 6, 2
    known = papers(spec, Workload(2, 3, 3, n, n), item)
    assert known["standard"] == heads * item * (n * d + n * n)
    elements = 100 * KIB // item
    assert known["flash"] / (100 * KIB) == pytest.approx(heads * item * n**2 * d**2 / elements)


@pytest.mark.slow
def test_the_command_writes_a_page_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'flashgen[explore]'")
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))
    spec = load_spec(find("full"))
    first = candidates(lower_spec(spec).program, 0, load_target("t4"), "fp16")[0]
    timed = Timed(first.plan, 1.0, 123.456, Measured(1, 1, 0))
    name = file_name(spec.canonical_json(), "flash2", "fp16", "t4", Workload(2, 4, 2, 1024, 1024))
    remember(name, [Ranking("full_fwd", (timed,), timed, ())])
    names = [str(tmp_path / name) for name in ("e.html", "e.png", "e.svg")]
    options = ["-t", "t4", "-o", names[0], "--png", names[1], "--svg", names[2], "--seqlen", "1024"]
    done = CliRunner().invoke(app, ["explore", "full", *options, "--heads", "4/2", "--batch", "2"])
    assert done.exit_code == 0, done.output
    text = Path(names[0]).read_text(encoding="utf-8")
    assert "Hq=4 Hkv=2 Nq=1024 Nk=1024 D=" in text
    assert text.count('"measured":123.46') == 1
    assert Path(names[1]).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path(names[2]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--target", "cpu"], "cpu has no SRAM to explore: name a GPU, such as h100"),
        (["--target", "h10"], "did you mean h100?"),
        (["--sram", "1KiB"], "the smallest that works needs"),
        (
            ["--png", "charts.jpg"],
            "--png charts.jpg: what is written is PNG, so name a file that ends in .png",
        ),
        (["--svg", "charts"], "name a file that ends in .svg"),
        (["--heads", "3/2"], "3 query heads are no multiple of 2 key heads"),
    ],
)
def test_mistakes_are_named(options: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["explore", "full", "-o", str(tmp_path / "e.html"), *options])
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_pictures_without_matplotlib_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    options = ["-o", str(tmp_path / "e.html"), "--png", str(tmp_path / "e.png")]
    done = CliRunner().invoke(app, ["explore", "full", *options])
    assert done.exit_code == 1
    assert "pip install 'flashgen[explore]'" in done.output
    assert not (tmp_path / "e.html").exists()
