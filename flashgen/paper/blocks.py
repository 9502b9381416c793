"""Block size against memory accesses and time, forward (FlashAttention, Figure 2 middle)."""

from __future__ import annotations

from .measured import Clock
from .programs import (
    FLASH1,
    FLASH2,
    HEAD_DIM,
    PADDING,
    PAPER,
    TARGETS,
    fastest,
    lowered,
    predicted,
    promising,
    spills,
    totals,
)
from .tables import Cell, Chart, Column, Section, Table, line, paragraphs

SIZES = (16, 32, 64, 128, 256, 512)


def blocks(name: str, size: int) -> dict[str, int]:
    """The tile of a block: FlashAttention reads Q and O again for each block of keys (and takes min(Bc, d)
    queries), FlashAttention-2 reads K and V again for each block of queries."""
    other = min(size, HEAD_DIM)
    if name == FLASH1[0]:
        return {"BLOCK_M": other, "BLOCK_N": size}
    return {"BLOCK_M": size, "BLOCK_N": other}


def section(clock: Clock | None = None) -> Section:
    """Counted bytes and predicted time of a forward for each block size."""
    rows: list[tuple[Cell, ...]] = []
    refused: list[str] = []
    doubtful: list[str] = []
    for name, schedule, _ in (FLASH1, FLASH2):
        of = lowered(PADDING, schedule)
        for size in SIZES:
            tile = blocks(name, size)
            counted = totals(of, [tile], PAPER)
            times: list[float | None] = []
            for target in TARGETS:
                plans = fastest(of, target, PAPER, tile)
                words = f"{name}, {size} on {target.upper()}"
                if isinstance(plans, str):
                    refused.append(f"{words} ({plans})")
                    times.append(None)
                else:
                    times.append(predicted(of, target, PAPER, plans)[0])
                    doubtful += [words] * spills(of, target, PAPER, plans)
            measured = []
            if clock:
                measured = [clock.milliseconds(of, PAPER, promising(of, clock.target, PAPER, tile))]
            shape = f"{tile['BLOCK_M']}×{tile['BLOCK_N']}"
            rows.append(
                (name, size, shape, counted.on_chip / 1024, counted.requested / 1e9, *times, *measured)
            )
    table = Table(
        "blocks",
        "Block size against requested bytes and time of the forward, without dropout, at the shape above.",
        (
            Column("algorithm", "Algorithm"),
            Column("block", "Block"),
            Column("tiles", "Tiles (M × N)"),
            Column("on_chip_kib", "On chip", "KiB"),
            Column("requested_gb", "Requested", "GB"),
            *(Column(f"predicted_ms_{t}", f"{t.upper()}, predicted", "ms") for t in TARGETS),
            *([Column("measured_ms", f"{clock.device}, measured", "ms")] if clock else []),
        ),
        tuple(rows),
    )
    ticks = tuple(float(s) for s in SIZES)
    first, last = table.column("requested_gb")[0], table.column("requested_gb")[4]
    assert isinstance(first, float)
    assert isinstance(last, float)
    return Section(
        "blocks",
        "Block size against memory accesses and time",
        "Larger blocks read less, and take less time until something else than memory is the limit.",
        (table,),
        f"FlashAttention's forward requests {first / last:.1f} times less by blocks of 256 keys than of 16",
        charts=(
            Chart(
                "blocks-bytes", "Requested bytes against block size", "block size", "GB",
                (line(table, "block", "requested_gb", FLASH1[0], "plan", FLASH1[0]),
                 line(table, "block", "requested_gb", FLASH2[0], "least", FLASH2[0])), ticks,
            ),
            Chart(
                "blocks-time", "Predicted time on A100 against block size", "block size", "ms",
                (line(table, "block", "predicted_ms_a100", FLASH1[0], "plan", FLASH1[0]),
                 line(table, "block", "predicted_ms_a100", FLASH2[0], "least", FLASH2[0])), ticks,
            ),
        ),
        notes=paragraphs(f"""
            The block is that of keys for FlashAttention (queries: the lesser of it and d, as in Algorithm 1)
            and that of queries for FlashAttention-2 (keys: the same).

            On chip are all tiles alive at once, in shared memory and registers: the papers' M.

            The paper runs its own CUDA kernels; these times are of flashgen's, with the warps and stages
            that the time model likes best. Its curve is printed without numbers, so there are none to put
            beside.

            No time: {"; ".join(refused) or "none"}. Spills are predicted that the compiler may make worse:
            {"; ".join(doubtful) or "none"}.
        """),
    )  # fmt: skip
