"""Standard attention against FlashAttention, forward + backward with mask and dropout (FlashAttention, Figure
2 left; the table of its talks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashgen.driver import Lowered
from flashgen.targets.target import load_target

from .measured import Clock
from .programs import (
    FLASH1,
    FLASH2,
    HEAD_DIM,
    ITEM,
    PADDING,
    PAPER,
    STANDARD,
    TARGETS,
    TRIED,
    Sides,
    fastest,
    lowered,
    planned,
    predicted,
    promising,
    sides_of,
    totals,
)
from .tables import Cell, Column, Section, Table, paragraphs, show

DROPOUT = 0.1
THEIRS = "FlashAttention, the paper's blocks"
#: What the paper prints: GFLOPs, GB of HBM reads and writes, ms on A100.
PRINTED = {"standard": (66.6, 40.3, 41.7), THEIRS: (75.2, 4.4, 7.3)}
#: Matrices that programs keep in fp32 in memory, and that a 16-bit implementation keeps in 16 bits.
HALVED = dict.fromkeys(("S", "dP", "O", "dQ"), ITEM)
GPT2: Mapping[str, Any] = {"mask": "k <= qpos"}


@dataclass(frozen=True)
class Row:
    """One algorithm, forward and backward: ``gb`` requested, ``half_gb`` with ``HALVED``; ``matrices_gb`` is
    the share of those matrices in ``gb``. ``ms`` and ``dram_gb`` are predictions."""

    name: str
    tiles: str
    gflop: float
    gb: float
    half_gb: float
    matrices_gb: float
    dram_gb: float | None
    ms: tuple[float | None, ...]
    measured_ms: float | None


def paper_blocks(target: str) -> dict[str, int]:
    """Algorithm 1, line 2: Bc = ceil(M / 4d) keys, Br = min(Bc, d) queries, for M elements of shared memory;
    rounded down to powers of two, which Triton's tiles are."""
    elements = load_target(target).smem_bytes // ITEM
    columns = -(-elements // (4 * HEAD_DIM))
    rows = min(columns, HEAD_DIM)
    return {name: 1 << (x.bit_length() - 1) for name, x in (("BLOCK_M", rows), ("BLOCK_N", columns))}


def counted(
    name: str,
    of: Sequence[Lowered],
    blocks: Mapping[str, int] | None,
    targets: Sequence[str],
    clock: Clock | None,
) -> Row:
    """The row of a forward and a backward: with ``blocks``, or with the planner's tiles, those for the first
    target in the counts and each target's own in its time."""
    first, *others = (_predicted(of, target, blocks) for target in targets)
    if blocks:
        sides: list[Sides] = [[blocks] * len(p.program.kernels) for p in of]
    else:
        sides = [sides_of(planned(p, targets[0], PAPER)) for p in of]
    exact, half = ([totals(p, s, PAPER, i) for p, s in zip(of, sides, strict=True)] for i in (None, HALVED))
    spent = [
        clock.milliseconds(p, PAPER, promising(p, clock.target, PAPER, blocks)) if clock else None for p in of
    ]
    return Row(
        name=name,
        tiles="; ".join(map(_tiles, sides)),
        gflop=sum(n.flops for n in exact) / 1e9,
        gb=sum(n.requested for n in exact) / 1e9,
        half_gb=sum(n.requested for n in half) / 1e9,
        matrices_gb=sum(d.get(m, 0) for m in HALVED for n in exact for d in (n.read, n.written)) / 1e9,
        dram_gb=first and first[1] / 1e9,
        ms=tuple(found and found[0] for found in (first, *others)),
        measured_ms=None if None in spent else sum(x for x in spent if x is not None),
    )


def _predicted(
    of: Sequence[Lowered], target: str, blocks: Mapping[str, int] | None
) -> tuple[float, int] | None:
    """Milliseconds and DRAM bytes; None where the blocks do not fit."""
    ms, moved = 0.0, 0
    for p in of:
        plans = fastest(p, target, PAPER, blocks) if blocks else planned(p, target, PAPER)
        if isinstance(plans, str):
            return None
        found = predicted(p, target, PAPER, plans)
        ms, moved = ms + found[0], moved + found[1]
    return ms, moved


def _tiles(sides: Sides) -> str:
    """The tiles of each kernel, equal ones once."""
    return ", ".join(dict.fromkeys(f"{s['BLOCK_M']}×{s['BLOCK_N']}" for s in sides))


def rows(mask: Mapping[str, Any], targets: Sequence[str], clock: Clock | None) -> list[Row]:
    """The algorithms under a mask, with dropout; FlashAttention also with its paper's blocks."""
    out = []
    for name, *schedules in (STANDARD, FLASH1, FLASH2):
        of = [lowered({**mask, "dropout": DROPOUT}, s) for s in schedules]
        out.append(counted(name, of, None, targets, clock))
        if name == FLASH1[0]:
            out.append(counted(THEIRS, of, paper_blocks(targets[0]), targets, clock))
    return out


def section(clock: Clock | None = None) -> Section:
    """The table under a mask that hides nothing, as printed, and under GPT-2's own."""
    full, half = rows(PADDING, TARGETS, clock), rows(GPT2, TARGETS[:1], clock)
    gpu = clock.device if clock else ""
    w = f"B {PAPER.B}, {PAPER.Hq} heads of {HEAD_DIM}, {PAPER.Nq} tokens, fp16, dropout {DROPOUT}"
    first = _table("comparison", f"Forward + backward, every pair visible: {w}.", full, gpu, printed=True)
    second = _table("comparison_causal", f"The same, causal: {w}.", half, gpu, printed=False)
    standard, _, flash, flash2 = full
    return Section(
        "comparison",
        "Standard attention against FlashAttention",
        "GFLOPs and bytes are counted off the programs, times predicted; beside them what the paper prints.",
        (first, second),
        f"standard {show(standard.gb)} GB, FlashAttention {show(flash.gb)} GB, "
        f"FlashAttention-2 {show(flash2.gb)} GB requested (the paper: 40.3 and 4.4)",
        notes=_notes(standard, flash, flash2, half[-1], gpu),
    )


def _table(name: str, caption: str, rows: list[Row], gpu: str, printed: bool) -> Table:
    columns = [
        Column("algorithm", "Algorithm"),
        Column("tiles", "Tiles (M × N), forward; backward"),
        Column("gflop", "Counted", "GFLOP"),
    ]
    columns += [Column("paper_gflop", "Paper", "GFLOP")] * printed
    columns += [
        Column("requested_gb", "Requested", "GB"),
        Column("requested_fp16_gb", "With S, dP, O, dQ in fp16", "GB"),
    ]
    columns += [Column("paper_gb", "Paper", "GB")] * printed
    columns += [Column("dram_gb_a100", "DRAM on A100, predicted", "GB")]
    columns += [
        Column(f"predicted_ms_{t}", f"{t.upper()}, predicted", "ms") for t in TARGETS[: len(rows[0].ms)]
    ]
    columns += [Column("measured_ms", f"{gpu}, measured", "ms")] * bool(gpu)
    columns += [Column("paper_ms_a100", "Paper, A100", "ms")] * printed

    def cells(row: Row) -> tuple[Cell, ...]:
        flops, gb, ms = PRINTED.get(row.name, (None, None, None))
        found: list[Cell] = [row.name, row.tiles, row.gflop]
        found += [*[flops] * printed, row.gb, row.half_gb, *[gb] * printed]
        return (*found, row.dram_gb, *row.ms, *[row.measured_ms] * bool(gpu), *[ms] * printed)

    return Table(name, caption, tuple(columns), tuple(map(cells, rows)))


def _notes(standard: Row, flash: Row, flash2: Row, half: Row, gpu: str) -> tuple[str, ...]:
    pairs = PAPER.B * PAPER.Hq * PAPER.Nq * PAPER.Nk
    dot = 2 * pairs * HEAD_DIM / 1e9
    (standard_flops, standard_gb, _), (flash_flops, flash_gb, _) = PRINTED["standard"], PRINTED[THEIRS]
    timed = f"Times were measured on {gpu}: of each kernel the fastest of the {TRIED} plans predicted best."
    unmeasured = "No time is measured: there is no CUDA device. On one, the command adds a column."
    return paragraphs(f"""
        GFLOPs. A product of N × N by d takes 2 B H N² d = {show(dot)} GFLOP at this shape: two forward, and
        four backward where S is kept ({show(6 * dot)} in all), five where it is made again
        ({show(7 * dot)}). The paper's {standard_flops} and {flash_flops} are about a twelfth of that: they
        do not follow from the shape it gives, and nothing here was changed to meet them. Their quotient,
        {show(flash_flops / standard_flops)}, is near that of seven products to six, {show(7 / 6)}.

        Standard attention keeps no S for the backward here and makes it again, so that its count is that of
        FlashAttention. FlashAttention-2 makes S and dP in both of its backward kernels, nine products
        ({show(flash2.gflop)} GFLOP), and in return dQ does not go through memory again and again.

        Bytes of standard attention. {show(standard.matrices_gb)} of its {show(standard.gb)} GB are S and dP,
        kept here in fp32 so that large logits survive. In fp16, as PyTorch keeps them, the count is
        {show(standard.half_gb)} GB beside the {standard_gb} printed. PyTorch's mask, softmax and dropout are
        also calls of their own, each reading and writing the matrix, and it keeps P instead of making S
        again.

        Bytes of FlashAttention. Its rule for blocks (Algorithm 1, line 2) gives {flash.tiles.split(";")[0]}
        on A100. O and dQ go through memory once for each tile of keys, {show(flash.matrices_gb)} of the
        {show(flash.gb)} GB in fp32; in fp16 the count is {show(flash.half_gb)} GB beside the {flash_gb}
        printed.

        Requested bytes are what programs ask of L2, every time; what L2 answers never reaches HBM, nor its
        hardware counters. The DRAM column is the time model's estimate of what remains. It is small for
        FlashAttention-2 ({show(flash2.dram_gb)} of {show(flash2.gb)} GB), whose programs of one head run
        together and read the same K and V.

        Where FlashAttention-2 is predicted slower than FlashAttention it is for its backward, whose two
        kernels make S, dP and dropout's bits twice, and issue slots are what limits them. FlashAttention has
        one program a head, and the {PAPER.B * PAPER.Hq:,} heads of this shape fill a GPU; few would not. The
        time model was not fitted to any time of FlashAttention, nor on an A100.

        A mask that hides half. Under GPT-2's causal mask FlashAttention-2's count falls to
        {show(half.gflop)} GFLOP, because hidden tiles are not visited; standard attention's stays.

        The paper's blocks are large for Triton: its compiler may spill more than their predicted times know.

        Predicted times are of flashgen's kernels, planned for each GPU; the paper's are of its CUDA kernels
        and of PyTorch's of 2022.

        {timed if gpu else unmeasured}
    """)
