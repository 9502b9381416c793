"""What ``usage`` found as tables: predictions beside the compiler, group by group, and a CSV of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from statistics import median

from flashgen.grid import Grid, grid
from flashgen.plan.plan import MAX_SPILL_BYTES

from . import markdown as document
from .usage import Usage

#: What makes a row of the table, from fine to coarse.
GROUPS: Mapping[str, Callable[[Usage], str]] = {
    "kernel": lambda u: f"{u.schedule}: {u.kernel.removeprefix(u.spec + '_')}",
    "spec": lambda u: f"{u.spec} {u.schedule}",
    "schedule": lambda u: u.schedule,
}
HEAD = (
    "target", "dtype", "of", "candidates", "compiled", "smem exact", "smem >=", "smem within 10%",
    "smem, least and most", "registers, median error", "spills foreseen", "spill, median and most",
)  # fmt: skip


def rows(found: Sequence[Usage], by: str = "schedule") -> list[tuple[str, ...]]:
    """A row for each target, dtype and group, under ``HEAD``."""
    groups: dict[tuple[str, str, str], list[Usage]] = {}
    for u in found:
        groups.setdefault((f"{u.target} ({u.arch})", u.dtype, GROUPS[by](u)), []).append(u)
    return [(*key, *_row(mine)) for key, mine in sorted(groups.items())]


def _row(mine: Sequence[Usage]) -> tuple[str, ...]:
    smem = [_ratio(u.predicted_smem, u.smem) for u in mine if u.smem is not None]
    registers = [abs(u.predicted_registers - u.registers) for u in mine if u.registers is not None]
    spills = [u.spill for u in mine if u.spill is not None]
    foreseen = [
        (u.predicted_spill > MAX_SPILL_BYTES) == (u.spill > MAX_SPILL_BYTES)
        for u in mine
        if u.spill is not None
    ]
    if not smem:
        return (f"{len(mine):,}", "0", *[""] * 7)
    return (
        f"{len(mine):,}",
        f"{len(smem):,}",
        _share([r == 1 for r in smem]),
        _share([r >= 1 for r in smem]),
        _share([10 * abs(u.predicted_smem - u.smem) <= u.smem for u in mine if u.smem is not None]),
        f"{min(smem):.2f} to {max(smem):.2f}",
        f"{median(registers):.0f}",
        _share(foreseen),
        f"{median(spills):,.0f} B, {max(spills):,} B",
    )


def _ratio(predicted: int, actual: int) -> float:
    return 1.0 if predicted == actual else predicted / max(actual, 1)


def _share(true: Sequence[bool]) -> str:
    """In percent, cut and not rounded, so that 100% is all of them."""
    return f"{int(1000 * sum(true) / len(true)) / 10:g}%"


def table(found: Sequence[Usage], by: str = "schedule") -> Grid:
    """The table for a terminal; below it the kinds of errors that candidates without numbers had."""
    words = ("dtype", "of", "spill, median and most")
    return grid(HEAD, rows(found, by), words, note="\n".join(_errors(found)))


def _errors(found: Sequence[Usage]) -> list[str]:
    errors: dict[str, int] = {}
    for u in found:
        if u.error:
            key = f"{u.target}: {u.error}"
            errors[key] = errors.get(key, 0) + 1
    return [f"- {n:,} candidates of {said}" for said, n in sorted(errors.items())]


def markdown(found: Sequence[Usage], by: str = "schedule") -> str:
    """The same for a document."""
    lines = _errors(found)
    return document.table(HEAD, rows(found, by)) + "\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")


def csv_text(found: Sequence[Usage]) -> str:
    """A line for each candidate."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Usage)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(u) for u in found)
    return out.getvalue()
