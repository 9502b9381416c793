"""Time against the share of visible tiles, for sliding windows (FlashAttention, Figure 2 right, which has
block-sparse masks)."""

from __future__ import annotations

from typing import Any

from flashgen.driver import Lowered
from flashgen.ir.workload import Workload
from flashgen.plan.plan import KernelPlan

from .measured import Clock
from .programs import FLASH2, HEAD_DIM, TARGETS, lowered, planned, predicted, promising, sides_of, totals
from .tables import Cell, Chart, Column, Line, Section, Table, line, paragraphs, show

WORK = Workload(16, 16, 16, 4096, 4096)
WIDTHS = (32, 64, 128, 256, 512, 1024, 2048, 4095)


def band(width: int) -> dict[str, Any]:
    """Every key at most ``width`` before or after the query."""
    return {"mask": "window(width, width)", "constants": {"width": width}}


def visible(width: int, n: int) -> int:
    """Pairs of a band, one head of n queries and keys."""
    return n * n - (n - 1 - width) * (n - width) if width < n else n * n


def visited(of: Lowered, full: Lowered, plans: tuple[KernelPlan, ...], w: Workload) -> float:
    """The share of tiles that a program visits: its FLOPs, whole tiles each, over those without a mask."""
    sides = sides_of(plans)
    return totals(of, sides, w).flops / totals(full, sides, w).flops


def section(clock: Clock | None = None) -> Section:
    """Forward + backward with the tiles that the planner takes for full attention, at every width."""
    schedules = FLASH2[1:]
    full = [lowered({}, s) for s in schedules]
    tiles = {t: [planned(f, t, WORK) for f in full] for t in TARGETS}
    whole = {
        t: sum(predicted(f, t, WORK, p)[0] for f, p in zip(full, tiles[t], strict=True)) for t in TARGETS
    }
    rows: list[tuple[Cell, ...]] = []
    for width in WIDTHS:
        of = [lowered(band(width), s) for s in schedules]
        base = tiles[TARGETS[0]]
        counted = [totals(p, sides_of(k), WORK) for p, k in zip(of, base, strict=True)]
        flops = sum(totals(f, sides_of(k), WORK).flops for f, k in zip(full, base, strict=True))
        share = sum(n.flops for n in counted) / flops
        ms = [sum(predicted(p, t, WORK, k)[0] for p, k in zip(of, tiles[t], strict=True)) for t in TARGETS]
        spent = []
        if clock:
            taken = [
                clock.milliseconds(p, WORK, promising(f, clock.target, WORK))
                for f, p in zip(full, of, strict=True)
            ]
            known = [x for x in taken if x is not None]
            spent = [sum(known) if len(known) == len(taken) else None]
        rows.append((
            width, 100 * visible(width, WORK.Nq) / WORK.Nq**2, 100 * share,
            sum(n.requested for n in counted) / 1e9, *ms, share * whole[TARGETS[0]],
            *spent,
        ))  # fmt: skip
    table = Table(
        "window",
        f"Forward + backward, a window: B {WORK.B}, {WORK.Hq} heads of {HEAD_DIM}, {WORK.Nq:,} tokens, fp16.",
        (
            Column("width", "Keys to each side"),
            Column("visible_pairs_percent", "Visible pairs", "%"),
            Column("visited_tiles_percent", "Visited tiles", "%"),
            Column("requested_gb", "Requested", "GB"),
            *(Column(f"predicted_ms_{t}", f"{t.upper()}, predicted", "ms") for t in TARGETS),
            Column("proportional_ms_a100", "A100, were it proportional", "ms"),
            *([Column("measured_ms", f"{clock.device}, measured", "ms")] if clock else []),
        ),
        tuple(rows),
    )
    fewest = show(table.column("visited_tiles_percent")[0])
    least, most = (table.column("predicted_ms_a100")[i] for i in (0, -1))
    assert isinstance(least, float)
    assert isinstance(most, float)
    curves: list[Line] = [
        line(table, "visited_tiles_percent", "predicted_ms_a100", "predicted on A100", "plan"),
        line(table, "visited_tiles_percent", "proportional_ms_a100", "in proportion to the tiles", "flash"),
    ]
    return Section(
        "window",
        "Time against the share of visible tiles",
        "Tiles that nobody sees are not visited, so that time falls with the share of visible ones, as "
        "that of block-sparse FlashAttention does.",
        (table,),
        f"a window of 32 to each side visits {fewest}% of the tiles, in "
        f"a time predicted {most / least:.1f} times less",
        charts=(
            Chart("window-chart", "Time against visited tiles", "% of the tiles", "ms", tuple(curves)),
        ),
        notes=paragraphs("""
            Visited tiles are counted: the program's FLOPs, on whole tiles, over those of the same tiles
            without a mask. The tiles are those that the planner takes for full attention, the same for all
            widths; the share is of A100's.

            Partial tiles, which narrow windows mostly are, carry mask code, and a block has fixed costs:
            both keep the time of narrow windows above the proportional line. The paper's masks are of
            arbitrary blocks; windows are the case that needs no list of them.
        """),
    )  # fmt: skip
