"""The heat map, the roofline and the traffic curve of each kernel as a PNG or SVG file, by matplotlib.

The planner is asked anew at each size of SRAM; the page's script finds the same (``tests/explore``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flashgen.errors import FlashgenError
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.plan.model.cost import Cost
from flashgen.plan.search import COLUMN_SIDES, ROW_SIDES, Candidate, best_of, candidates
from flashgen.size import show_size

from .data import KIB, Question
from .papers import papers
from .requests import requested

BLUE, ORANGE, GREY = "#0b5cad", "#a8480a", "#55606a"
#: Sizes of SRAM at which the traffic is worked out, evenly spaced on a logarithmic axis.
SIZES = 24
#: Pixels an inch of a PNG: legible beside text, and below 100 kB for a kernel.
DPI = 100
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "0"}


def draw(asked: Question, paths: Mapping[str, Path], ranked: Sequence[list[Candidate]] | None = None) -> None:
    """Write the picture to ``paths``, by kind (``png``, ``svg``): a row of three figures for each kernel.

    ``ranked``: candidates with the compiler's numbers, as for ``page_data``. Raises ``FlashgenError`` where
    matplotlib is missing or a file cannot be written, ``PlanError`` as ``search.choose`` does.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise FlashgenError("pictures need matplotlib: pip install 'flashgen[explore]'") from None

    program = asked.lowered.program
    count = len(program.kernels)
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 4.2 * count), layout="constrained")
        for i, axes in enumerate(figure.subplots(count, 3, squeeze=False)):
            found = ranked[i] if ranked else candidates(program, i, asked.target, asked.dtype, asked.workload)
            best = best_of(found, asked.target, program)
            _heat(axes[0], found, best, program.kernels[i].name)
            _roofline(axes[1], asked, i, found, best)
            _traffic(axes[2], asked, i)
        sram = f"{show_size(asked.target.smem_bytes)} of SRAM a thread block"
        figure.suptitle(f"{program.name} on {asked.target.name}, {asked.dtype}, {sram}")
        for kind, path in paths.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {})
            except OSError as error:
                raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None


def _cells(found: Sequence[Candidate]) -> dict[tuple[int, int], Candidate]:
    """The best candidate of each pair of tile sides."""
    best: dict[tuple[int, int], Candidate] = {}
    for c in found:
        if not c.rejected:
            best.setdefault((c.plan.side("BLOCK_M"), c.plan.side("BLOCK_N")), c)
    return best


def _cost(c: Candidate) -> Cost:
    assert c.cost is not None
    return c.cost


def _requested(asked: Question, kernel: int, c: Candidate) -> int:
    return requested(asked.lowered.program, kernel, c.plan, _cost(c), asked.workload, asked.dtype)


def _heat(axes: Any, found: Sequence[Candidate], best: Candidate, name: str) -> None:
    cells = _cells(found)
    times = {at: _cost(c).us for at, c in cells.items()}
    low, high = min(times.values()), max(times.values())
    unit, scale = ("ms", 1e3) if low >= 1000 else ("µs", 1)
    grid = [[times.get((m, n), math.nan) for n in COLUMN_SIDES] for m in ROW_SIDES]
    logs = [[math.log(us) if us > 0 else math.nan for us in line] for line in grid]
    axes.imshow(
        logs, cmap="viridis_r", aspect="auto", vmin=math.log(low), vmax=math.log(max(high, 1.1 * low))
    )
    for (m, n), us in times.items():
        dark = us / low > max(high / low, 1.1) ** 0.6
        at = COLUMN_SIDES.index(n), ROW_SIDES.index(m)
        chosen = cells[m, n] is best
        weight = "bold" if chosen else "normal"
        shown = f"{us / scale:.3g}" + (" ★" if chosen else "")
        axes.text(*at, shown, ha="center", va="center", color="w" if dark else "k", weight=weight)
    axes.set_xticks(range(len(COLUMN_SIDES)), COLUMN_SIDES)
    axes.set_yticks(range(len(ROW_SIDES)), ROW_SIDES)
    axes.set(xlabel="BLOCK_N", ylabel="BLOCK_M", title=f"{name}: predicted time, {unit}; ★ the plan")


def _roofline(axes: Any, asked: Question, kernel: int, found: Sequence[Candidate], best: Candidate) -> None:
    g, tf32 = asked.target, asked.lowered.spec.tf32
    peak = g.flops_per_clock(asked.dtype, tf32) * g.number("sms") * g.number("clock") / 1e3
    rates = {"L2": g.number("l2_rate"), "DRAM": g.number("hbm_rate") * g.number("hbm_sustained")}
    cost = _cost(best)
    if not cost.flops:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no dots in a loop, no roofline", ha="center", va="center")
        return
    reached = cost.flops / cost.us / 1e6
    points = {
        "a byte from L2": (_requested(asked, kernel, best), "o"),
        "a byte from DRAM": (cost.hbm_bytes, "D"),
    }
    others = [c for c in _cells(found).values() if c is not best]
    x = [_cost(c).flops / max(_requested(asked, kernel, c), 1) for c in others]
    y = [_cost(c).flops / _cost(c).us / 1e6 for c in others]
    axes.loglog(x, y, ".", color=GREY, label="best of the other tiles (L2)")
    ends = [cost.flops / max(n, 1) for n, _ in points.values()] + [peak * 1e3 / r for r in rates.values()]
    low, high = min(ends) / 4, max(ends) * 3
    for (name, rate), style in zip(rates.items(), ("-", "--"), strict=True):
        line = [low, peak * 1e3 / rate, high]
        roof = [min(peak, rate * x / 1e3) for x in line]
        axes.loglog(line, roof, style, color=GREY, lw=1, label=f"{name} ceiling")
    for name, (size, mark) in points.items():
        axes.loglog([cost.flops / max(size, 1)], [reached], mark, color=BLUE, label=f"the plan, {name}")
    axes.set(xlabel="FLOP a byte", ylabel="TFLOP/s", title=f"Roofline: {reached:,.0f} of {peak:,.0f} TFLOP/s")
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def _traffic(axes: Any, asked: Question, kernel: int) -> None:
    known = papers(asked.lowered.spec, asked.workload, ITEM_BYTES[asked.dtype])
    ratio = asked.most / asked.least
    sizes = {round(asked.least * ratio ** (i / SIZES) / KIB) * KIB or asked.least for i in range(SIZES + 1)}
    points = []
    for sram in sorted(sizes | {asked.target.smem_bytes}):
        at = asked.target.with_sram(sram)
        found = candidates(asked.lowered.program, kernel, at, asked.dtype, asked.workload)
        good = [c for c in found if not c.rejected]
        if good:
            asks = [_requested(asked, kernel, c) / 1e9 for c in good]
            points.append((sram / KIB, asks[0], min(asks)))
    x = [p[0] for p in points]
    axes.step(x, [p[1] for p in points], color=BLUE, where="post", label="requested by the plan")
    axes.step(x, [p[2] for p in points], color=ORANGE, where="post", label="by the thriftiest tiles")
    axes.plot(x, [known["flash"] / (s * KIB) / 1e9 for s in x], "--", color=GREY, label="Θ(N² d² / M)")
    axes.plot(x, [known["standard"] / 1e9 for _ in x], ":", color=GREY, label="Θ(N d + N²)")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = [2**n for n in range(4, 11) if x and x[0] <= 2**n <= x[-1]]
    axes.set_xticks(ticks, ticks)
    axes.axvline(asked.target.smem_bytes / KIB, color=BLUE, lw=0.8, ls=":")
    axes.set(xlabel="SRAM of a thread block, KiB", ylabel="GB", title="Requested bytes against SRAM")
    axes.legend(frameon=False, fontsize=7)
