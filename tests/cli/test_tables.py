"""No table of the command line cuts a number or a word, at any width a terminal has."""

from __future__ import annotations

import ast
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from rich.text import Text
from typer.testing import CliRunner

from flashgen.bench.report import ErrorRow, Figure, Report, Timing
from flashgen.bench.usage import Usage
from flashgen.bench.usage_tables import table as usage_table
from flashgen.calibrate.fit import Error, Fit
from flashgen.cli import calibrate, tune
from flashgen.cli.app import app
from flashgen.demo import main as demo
from flashgen.demo.measure import Result
from flashgen.explain.compare import compare, comparison
from flashgen.explain.words import explain
from flashgen.grid import Grid, grid
from flashgen.ir.workload import Workload
from flashgen.plan.plan import Measured
from flashgen.plan.search import choose
from flashgen.resources import folder
from flashgen.targets.target import load_target
from flashgen.tune.search import Ranking, Timed
from flashgen.verify.case import Case
from flashgen.verify.errors import Errors

from ..plan.programs import program

PACKAGE = folder("specs").parent / "flashgen"
#: Rules, frames and what replaces text that was cut.
NO_WORDS = "─━│…"
WIDTHS = (80, 60, 40)


def command(*args: str) -> Callable[[int], str]:
    """What a command prints at a width."""

    @cache
    def at(width: int) -> str:
        result = CliRunner(env={"COLUMNS": str(width)}).invoke(app, list(args))
        assert result.exit_code == 0, result.output
        return result.stdout

    return at


def shown(made: Callable[[], RenderableType]) -> Callable[[int], str]:
    """What a table looks like at a width."""

    once = cache(made)

    def at(width: int) -> str:
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(once(), crop=False)
        return console.export_text()

    return at


def report(width: int) -> str:
    """A benchmark's tables of six contenders."""
    peers = ("flashgen", "flex_attention", "cuDNN", "flash", "sdpa", "efficient")
    found = Report()
    found.timings = [
        Timing("forward", f"causal D=128 N={n}", p, 123.4567, 654.3, 1.2e-3)
        for n in (2048, 16384)
        for p in peers
    ]
    found.errors = [ErrorRow("causal D=128 N=2048", p, 1.23e-3, 4.56e-5, 7.89e-4) for p in peers]
    found.figures = [Figure("forward", "causal D=128 N=2048", "beside flex_attention", 1.234, "x", 1.1, True)]
    console = Console(width=width, file=io.StringIO(), record=True)
    found.show(console)
    return console.export_text()


def compared(schedule: str, dtype: str) -> Grid:
    p, w = program(64, schedule=schedule), Workload(4, 32, 32, 8192, 8192)
    return comparison(p, compare(p, [load_target("h100"), load_target("t4")], [dtype], w), w)


def fit() -> Fit:
    start = load_target("h100")
    worst = Error(1.023, 0.1234, 1.56, "causal D=128 N=16384 B=1: 128x128 w8 s2")
    return Fit(start, start, ("clock", "l2_rate"), worst, worst)


def ranking() -> Ranking:
    plan = choose(program(128, "causal"), "h100").kernels[0]
    timed = Timed(plan, 12345.6, 23456.7, Measured(232448, 168, 1024))
    return Ranking("causal_fwd", (timed,), timed, ())


def results() -> list[tuple[str, Case, Result]]:
    errors = Errors(1.2e-3, 3.4e-5, 5.6e-4)
    result = Result(errors, errors, (), 12.3)
    case = Case(1, 2, 1, 100, 300, "fp16")
    return [("interpreted kernel", case, result), ("tile program", case, result)]


NUMBERS = (231424, 232448, 168, 170, 0, 1024)
USAGE = Usage("h100", "sm_90", "t5_bias", "backward", "t5_bias_bwd_dbias", "bf16", "p", *NUMBERS)
TABLES: dict[str, Callable[[int], str]] = {
    "targets": command("targets"),
    "list": command("list"),
    "compare-targets": shown(lambda: compared("backward", "fp16")),
    "a refusal": command("compare-targets", "full", "-t", "h100,t4", "--dtype", "bf16"),
    "explain": shown(lambda: explain(program(128, "window(1023, 0)"), load_target("h100"))),
    "explain, backward": shown(lambda: explain(program(64, schedule="backward"), load_target("a100"))),
    "explain, cpu": command("explain", "causal", "--target", "cpu"),
    "bench": report,
    "calibrate": shown(lambda: calibrate.numbers(fit())),
    "tune": shown(lambda: tune.candidates_table(ranking())),
    "demo": shown(lambda: demo.errors_table(results())),
    "resources": shown(lambda: usage_table([USAGE], "kernel")),
}


def words(text: str) -> Counter[str]:
    """How often each word stands in ``text``; a block's names end with a colon."""
    found = Counter(w.rstrip(":") for w in text.split() if w.strip(NO_WORDS))
    assert not any("…" in w for w in found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_what_is_shown_wide_stands_whole_in_a_narrow_terminal(name: str) -> None:
    at = TABLES[name]
    wide = words(at(200))
    assert wide
    for width in WIDTHS:
        narrow = words(at(width))
        assert not wide - narrow, f"at {width}: {dict(wide - narrow)}"


@pytest.mark.parametrize("name", [n for n in TABLES if not n.startswith("explain")])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_line_ends_within_the_terminal(name: str, width: int) -> None:
    text = TABLES[name](width)
    long = [x for x in text.splitlines() if len(x) > width and len(x.split()) > 1]
    assert not long, long


def test_every_table_is_a_grid() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert "rich.table" not in names, f"{path}: rich's tables cut; use flashgen.grid"


MINE = grid(
    ("target", "us", "why"),
    [("h100", "12,345.6", "words that may go on in a second line"), ("h100", "7", Text("red", "red"))],
    words=("why",),
    title="Times",
    note="note: none",
    shared=1,
)


def lines(table: Grid, width: int) -> list[str]:
    return shown(lambda: table)(width).splitlines()


def test_words_go_on_below_and_numbers_stand_to_the_right() -> None:
    long = replace(MINE, rows=(("h100", "12,345.6", f"{'words ' * 9}that may go on below"), MINE.rows[1]))
    assert lines(long, 72) == [
        "Times",
        "target        us  why",
        "─" * 72,
        "h100    12,345.6  words words words words words words words words words",
        "                  that may go on below",
        "               7  red",
        "note: none",
    ]


def test_what_does_not_fit_is_a_block_a_row() -> None:
    assert lines(MINE, 44) == [
        "Times",
        "target: h100",
        "us:     12,345.6",
        "why:    words that may go on in a second",
        "        line",
        "",
        "target: h100",
        "us:     7",
        "why:    red",
        "note: none",
    ]


def test_what_is_too_wide_is_parted_beside_its_keys() -> None:
    heads = ("target", "kernel", *(f"number {i}" for i in range(12)))
    rows = [("h100", "dq", *["123,456"] * 12), ("h100", "sum", "1")]
    first, then = "\n".join(lines(grid(heads, rows, ("kernel",), keys=("kernel",)), 80)).split("\n\n")
    assert first.split().count("123,456") + then.split().count("123,456") == 12
    assert [x.split()[:2] for x in then.splitlines()[-1:]] == [["h100", "dq"]], "of the sum it says nothing"
    assert first.splitlines()[-1].split() == ["h100", "sum", "1"]


def test_a_word_longer_than_the_terminal_stands_whole() -> None:
    formula = "2*B*Hq*N*(3*d+2+N*d/BLOCK_M)"
    assert f"formula: {formula}" in lines(grid(("", "formula"), [("bytes", formula)], words=("formula",)), 20)


def test_a_path_is_no_markup(tmp_path: Path) -> None:
    assert "[bold]" in "\n".join(lines(grid(("file",), [("a[bold].yaml",)]), 60))
