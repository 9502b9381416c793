"""What was measured: timings, figures with their goals, and the files and the table made of them."""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

import flashgen
from flashgen.grid import Cell, grid

from .markdown import markdown


@dataclass(frozen=True)
class Timing:
    """The median time of one contender on one case. ``error``: largest |out - fp64 truth|, where checked."""

    suite: str
    case: str
    contender: str
    ms: float | None
    tflops: float | None = None
    error: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One number that has, or could have, a goal: ``value`` is to be at least or at most ``goal``."""

    suite: str
    case: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def goal_text(self) -> str:
        """The goal as a reader sees it."""
        return "" if self.goal is None else f"{'>=' if self.at_least else '<='} {self.goal:g}"


@dataclass(frozen=True)
class ErrorRow:
    """Errors of one contender's ``out`` against fp64: largest, mean, and the worst row's rms."""

    case: str
    contender: str
    max: float
    mean: float
    row_rms: float


@dataclass(frozen=True)
class CandidateRow:
    """One candidate of a kernel: what the model predicts of it, what was measured, what the compiler said."""

    suite: str
    case: str
    kernel: str
    plan: str
    predicted_us: float
    measured_us: float
    smem_bytes: int
    registers: int
    spill_bytes: int
    chosen: bool


@dataclass(frozen=True)
class CounterRow:
    """Bytes of one launch: what the planner counts and models, and what hardware counters saw (None: not
    counted). ``ns`` is the launch's time under the profiler."""

    case: str
    plan: str
    read_requested: int
    write_requested: int
    model_l2_bytes: int
    model_dram_bytes: int
    l2_read_bytes: int | None
    l2_write_bytes: int | None
    l2_all_read_bytes: int | None
    l1_read_bytes: int | None
    l1_write_bytes: int | None
    tma_read_bytes: int | None
    dram_read_bytes: int | None
    dram_write_bytes: int | None
    ns: int | None


@dataclass
class Report:
    """All that one run found, in order."""

    dry: bool = False
    timings: list[Timing] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    candidates: list[CandidateRow] = field(default_factory=list)
    counters: list[CounterRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)  # the model's plans, by suite and pair

    def environment(self) -> dict[str, Any]:
        """Machine and versions, for the head of every file."""
        found: dict[str, Any] = {"flashgen": flashgen.__version__, "python": platform.python_version()}
        for package in ("torch", "triton", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        if torch.cuda.is_available() and not self.dry:
            device = torch.cuda.get_device_properties(0)
            found |= {"device": device.name, "sms": device.multi_processor_count, "cuda": torch.version.cuda}
        else:
            found["device"] = "cpu (a dry run: the times mean nothing)"
        return found

    def met(self, f: Figure) -> bool | None:
        """Whether a figure meets its goal; None without a goal, and in a dry run."""
        return None if self.dry else f.met

    def write(self, out: Path) -> list[Path]:
        """Write bench.json, bench.md and CSV files of each table into ``out``; return their paths."""
        out.mkdir(parents=True, exist_ok=True)
        figures = [asdict(f) | {"met": self.met(f)} for f in self.figures]
        timings = [asdict(t) for t in self.timings]
        tables = {"timings": timings, "figures": figures, "errors": [asdict(e) for e in self.errors]}
        everything = {
            **tables,
            "candidates": [asdict(c) for c in self.candidates],
            "counters": [asdict(c) for c in self.counters],
        }
        whole = {"environment": self.environment(), **tables, "problems": self.problems}
        paths = [out / "bench.json"]
        paths[0].write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        paths.append(out / "bench.md")
        paths[-1].write_text(markdown(json.loads(paths[0].read_text(encoding="utf-8"))), encoding="utf-8")
        for name, rows in everything.items():
            if rows:
                paths.append(out / f"{name}.csv")
                with paths[-1].open("w", newline="", encoding="utf-8") as f:
                    writer = csv.DictWriter(f, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
        if self.choices:
            paths.append(out / "choices.json")
            plans = {name: json.loads(plan) for name, plan in sorted(self.choices.items())}
            paths[-1].write_text(json.dumps(plans, indent=1) + "\n", encoding="utf-8")
        return paths

    def show(self, console: Console) -> None:
        """The timings by case, the errors, then the figures beside their goals."""
        console.print(", ".join(f"{k} {v}" for k, v in self.environment().items()), highlight=False)
        contenders = list(dict.fromkeys(t.contender for t in self.timings))
        if contenders:
            rows: list[tuple[Cell, ...]] = []
            for case in dict.fromkeys((t.suite, t.case) for t in self.timings):
                cells = {t.contender: _cell(t) for t in self.timings if (t.suite, t.case) == case}
                rows.append((" ".join(case), *(cells.get(c, "") for c in contenders)))
            title = "milliseconds (TFLOP/s) [largest error]"
            console.print(grid(("case", *contenders), rows, contenders, title), crop=False)
        if self.errors:
            rows = [
                (e.case, e.contender, f"{e.max:.2e}", f"{e.mean:.2e}", f"{e.row_rms:.2e}")
                for e in self.errors
            ]
            heads = ("case", "of", "max", "mean", "row rms")
            console.print(grid(heads, rows, ("of",), "errors", shared=1), crop=False)
        if self.figures:
            marks = {None: Text(), True: Text("met", "green"), False: Text("missed", "red")}
            rows = [
                (f"{f.suite} {f.case}", f.what, f"{f.value:.4g} {f.unit}", f.goal_text, marks[self.met(f)])
                for f in self.figures
            ]
            heads = ("case", "figure", "value", "goal", "met")
            console.print(grid(heads, rows, ("figure",), "figures"), crop=False)
        for problem in self.problems:
            console.print(f"[yellow]![/] {problem}", highlight=False)
        goals = [met for met in map(self.met, self.figures) if met is not None]
        console.print(f"{sum(goals)} of {len(goals)} goals met, {len(self.problems)} remarks")


def _cell(t: Timing) -> Text:
    if t.ms is None:
        return Text(t.note)
    flops = f" ({t.tflops:.0f})" if t.tflops else ""
    error = f" {t.error:.1e}" if t.error is not None else ""
    return Text.assemble(f"{t.ms:.4f}{flops}", (error, "dim"))
