"""Memory against sequence length: what attention needs beside its arguments and results (FlashAttention,
Figure 3 right)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from flashgen.expr.evaluate import evaluate_python
from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Program, Tensor
from flashgen.ir.workload import Workload

from .programs import DTYPE, FLASH1, FLASH2, HEAD_DIM, ITEM, STANDARD, lowered
from .tables import Cell, Chart, Column, Section, Table, line, paragraphs, show

LENGTHS = tuple(1 << n for n in range(9, 17))
HEADS = 16
#: Arguments, results and their gradients, which every attention has.
GIVEN = {"q", "k", "v", "o", "do", "dq", "dk", "dv"}


def extra_tensors(program: Program) -> list[Tensor]:
    """What a program keeps in memory beside them: its workspaces, and what passes to the backward."""
    return [t for t in program.tensors if t.role in ("workspace", "out", "saved") and t.name not in GIVEN]


def extra_bytes(program: Program, w: Workload) -> int:
    """Their bytes at ``w``."""
    names = w.names()
    return sum(
        prod(int(evaluate_python(n, names)) for n in t.dims) * item_bytes(t.dtype, DTYPE)
        for t in extra_tensors(program)
    )


def _names(schedules: Sequence[str]) -> str:
    """The extra tensors of a forward and a backward."""
    return ", ".join(sorted({t.name for s in schedules for t in extra_tensors(lowered({}, s).program)}))


def section() -> Section:
    """The most of forward and backward, for each length."""
    rows: list[tuple[Cell, ...]] = []
    for n in LENGTHS:
        w = Workload(1, HEADS, HEADS, n, n)
        own = len(GIVEN) * HEADS * n * HEAD_DIM * ITEM
        extra = [
            max(extra_bytes(lowered({}, s).program, w) for s in a[1:]) for a in (STANDARD, FLASH1, FLASH2)
        ]
        whole = (own + extra[0]) / (own + extra[2])
        rows.append((n, *(x / 2**20 for x in (own, *extra)), extra[0] / extra[2], whole))
    table = Table(
        "memory",
        f"Memory against sequence length, forward + backward: 1 sequence, {HEADS} heads of {HEAD_DIM}, fp16.",
        (
            Column("seqlen", "Tokens"),
            Column("given_mib", "Arguments, results, gradients", "MiB"),
            *(
                Column(f"{key}_mib", f"Extra, {a[0]}", "MiB")
                for key, a in (("standard", STANDARD), ("flash1", FLASH1), ("flash2", FLASH2))
            ),
            Column("extra_ratio", "Extra, standard / FlashAttention-2"),
            Column("whole_ratio", "With the arguments"),
        ),
        tuple(rows),
    )
    kept = "; ".join(f"{a[0]}: {_names(a[1:])}" for a in (STANDARD, FLASH1, FLASH2))
    standard, flash2 = (table.column(k)[-1] for k in ("standard_mib", "flash2_mib"))
    return Section(
        "memory",
        "Memory against sequence length",
        "Standard attention keeps matrices of all pairs, FlashAttention some numbers of each row.",
        (table,),
        f"at {LENGTHS[-1]:,} tokens standard attention needs {show(standard)} MiB beside its arguments, "
        f"FlashAttention-2 {show(flash2)}",
        charts=(
            Chart(
                "memory-chart", "Extra memory against sequence length", "tokens", "MiB",
                (line(table, "seqlen", "standard_mib", STANDARD[0], "least"),
                 line(table, "seqlen", "flash1_mib", FLASH1[0], "flash"),
                 line(table, "seqlen", "flash2_mib", FLASH2[0], "plan"),
                 line(table, "seqlen", "given_mib", "arguments, results, gradients", "standard")),
                tuple(float(n) for n in LENGTHS),
            ),
        ),
        notes=paragraphs(f"""
            Counted from the programs' own tensors, the larger of forward and backward. {kept}.

            The papers speak of memory 10 to 20 times less. With arguments, results and gradients counted in,
            it is {show(table.column("whole_ratio")[1])} times at {LENGTHS[1]:,} tokens and
            {show(table.column("whole_ratio")[2])} at {LENGTHS[2]:,}, and it grows with the length.
        """),
    )  # fmt: skip
