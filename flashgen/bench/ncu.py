"""Hardware counters by Nsight Compute: one program run under ``ncu``, its CSV read.

The program marks what is to be counted with ``cudaProfilerStart`` and ``cudaProfilerStop``. Clocks are left
as they are; caches are emptied before each pass, so DRAM traffic is that of a cold start.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flashgen.errors import FlashgenError

#: What is counted, by the names of its metric: the first that this GPU has is taken.
#: TMA's loads come to an SM as all others do, through L1TEX and the crossbar, and count in both.
METRICS: Mapping[str, tuple[str, ...]] = {
    "l2_read_sectors": ("lts__t_sectors_srcunit_tex_op_read.sum",),
    "l2_write_sectors": ("lts__t_sectors_srcunit_tex_op_write.sum",),
    "l2_all_read_sectors": ("lts__t_sectors_op_read.sum",),
    "l1_read_bytes": ("l1tex__m_xbar2l1tex_read_bytes.sum",),
    "l1_write_bytes": ("l1tex__m_l1tex2xbar_write_bytes.sum",),
    "tma_read_bytes": ("l1tex__m_xbar2l1tex_read_bytes_mem_global_op_tma_ld.sum",),
    "dram_read_bytes": ("dram__bytes_read.sum", "dram__bytes_op_read.sum"),
    "dram_write_bytes": ("dram__bytes_write.sum", "dram__bytes_op_write.sum"),
    "ns": ("gpu__time_duration.sum",),
}
#: Asked for even where ncu does not say what there is.
CERTAIN = ("l2_read_sectors", "l2_write_sectors", "dram_read_bytes", "dram_write_bytes")
#: Where CUDA's installer puts ncu, should it not be on the path.
ELSEWHERE = "/usr/local/cuda/bin/ncu"
_SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_TIMES = {
    "nsecond": 1.0,
    "ns": 1.0,
    "usecond": 1e3,
    "us": 1e3,
    "msecond": 1e6,
    "ms": 1e6,
    "second": 1e9,
    "s": 1e9,
}


def find() -> str:
    """The path of ``ncu``; raises ``FlashgenError`` where there is none."""
    found = shutil.which("ncu") or shutil.which(ELSEWHERE)
    if found is None:
        raise FlashgenError(
            "hardware counters are read by Nsight Compute, and ncu is neither on the path nor at "
            f"{ELSEWHERE}; it comes with the CUDA toolkit"
        )
    return found


def choose(known: str) -> dict[str, str]:
    """The metric of each counter, of those that ``ncu --query-metrics`` lists in ``known``."""
    there = {line.split()[0] for line in known.splitlines() if line.split()}
    if not any(m.split(".")[0] in there for names in METRICS.values() for m in names):
        return {field: METRICS[field][0] for field in CERTAIN}
    chosen = {}
    for field, names in METRICS.items():
        having = [m for m in names if m.split(".")[0] in there]
        if having or field in CERTAIN:
            chosen[field] = (having or list(names))[0]
    return chosen


def command(ncu: str, metrics: Iterable[str], log: Path, child: Sequence[str]) -> list[str]:
    """The command line that counts ``metrics`` of what ``child`` marks, into the CSV file ``log``."""
    return [
        ncu, "--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log),
        "--profile-from-start", "off", "--clock-control", "none", "--target-processes", "all",
        "--metrics", ",".join(metrics), *child,
    ]  # fmt: skip


def profile(child: Sequence[str], timeout_s: float) -> tuple[str, list[dict[str, float]]]:
    """What ``child`` printed, and its counters by the names of ``METRICS``, a row for each marked launch.

    Raises ``FlashgenError`` without ncu, without permission, or where the program fails.
    """
    ncu = find()
    asked = subprocess.run([ncu, "--query-metrics"], capture_output=True, text=True, check=False)
    chosen = choose(asked.stdout)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        line = command(ncu, chosen.values(), log, child)
        status, printed, errors = _ended(line, timeout_s)
        said = log.read_text(encoding="utf-8") if log.exists() else ""
    everything = "\n".join((said, printed, errors))
    if "ERR_NVGPUCTRPERM" in everything:
        raise FlashgenError(
            "the GPU's performance counters are closed to this user (ERR_NVGPUCTRPERM): run as root, or have "
            "the driver loaded with NVreg_RestrictProfilingToAdminUsers=0"
        )
    rows = parse(said)
    if status or not rows:
        last = [x for x in everything.splitlines() if x.strip()][-4:]
        raise FlashgenError(f"ncu ended with status {status} and {len(rows)} rows: {' | '.join(last)}")
    return printed, [{f: row[m] for f, m in chosen.items() if m in row} for row in rows]


def _ended(line: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command; one that takes too long is ended with all that
    it started, which would hold the GPU and its output."""
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as run:
        try:
            printed, errors = run.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise FlashgenError(f"ncu took longer than {timeout_s:g} s and was ended") from None
    return run.returncode, printed, errors


def parse(text: str) -> list[dict[str, float]]:
    """Metrics by name in base units (bytes, nanoseconds), one entry a launch, of either form of ncu's CSV:
    a column a metric with a line of units below the head, or a line a metric. Other lines are skipped."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    head, *rows = list(csv.reader(lines)) or [[]]
    if "Metric Name" in head:
        return _long(head, rows)
    return _wide(head, rows) if rows else []


def _long(head: list[str], rows: list[list[str]]) -> list[dict[str, float]]:
    launches: dict[str, dict[str, float]] = {}
    for values in rows:
        row = dict(zip(head, values, strict=False))
        value = number(row.get("Metric Value", ""), row.get("Metric Unit", ""))
        if value is not None:
            launches.setdefault(row["ID"], {})[row["Metric Name"]] = value
    return list(launches.values())


def _wide(head: list[str], rows: list[list[str]]) -> list[dict[str, float]]:
    units, *launches = rows
    found = []
    for values in launches:
        cells = zip(head, values, units, strict=False)
        numbers = {name: number(v, u) for name, v, u in cells if "__" in name}
        found.append({name: n for name, n in numbers.items() if n is not None})
    return found


def number(text: str, unit: str) -> float | None:
    """``1,234.5`` of ``Mbyte`` as 1234.5e6; None where nothing was counted (``n/a``)."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    if unit in _TIMES:
        return value * _TIMES[unit]
    return value * _SCALES.get(unit[:1], 1.0) if unit[1:] in ("byte", "sector") else value
