"""Counted bytes beside hardware counters: ncu's CSV in both forms, its failures, and the table made of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from flashgen.bench import counters, ncu
from flashgen.bench.counted import counted
from flashgen.bench.main import Choice, bench
from flashgen.errors import FlashgenError
from flashgen.plan.plan import Plan
from flashgen.runtime.source import best_plan

WIDE = """==PROF== Connected to process 77
{"label": "not ncu's"}
"ID","Process ID","Kernel Name","Grid Size","dram__bytes_read.sum","lts__t_sectors_srcunit_tex_op_read.sum"
"","","","","byte","sector"
"0","77","fwd_a","(8, 1, 1)","1,234,560","4000"
"1","77","fwd_b","(8, 1, 1)","n/a","5000"
"""
LONG = """==PROF== Disconnected from process 77
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","77","fwd_a","Command line profiler metrics","dram__bytes_read.sum","Mbyte","1.23456"
"0","77","fwd_a","Command line profiler metrics","lts__t_sectors_srcunit_tex_op_read.sum","sector","4,000"
"0","77","fwd_a","Command line profiler metrics","gpu__time_duration.sum","usecond","12.5"
"1","77","fwd_b","Command line profiler metrics","lts__t_sectors_srcunit_tex_op_read.sum","Ksector","5"
"""


def test_a_column_a_metric() -> None:
    first, second = ncu.parse(WIDE)
    assert first == {"dram__bytes_read.sum": 1234560, "lts__t_sectors_srcunit_tex_op_read.sum": 4000}
    assert second == {"lts__t_sectors_srcunit_tex_op_read.sum": 5000}


def test_a_line_a_metric() -> None:
    first, second = ncu.parse(LONG)
    assert first["dram__bytes_read.sum"] == pytest.approx(1234560)
    assert first["gpu__time_duration.sum"] == 12_500
    assert second == {"lts__t_sectors_srcunit_tex_op_read.sum": 5000}
    assert ncu.parse("==ERROR== nothing\n") == []


def test_metrics_are_those_that_the_gpu_has() -> None:
    listed = "Device X (GH100)\n" + "\n".join(
        f"{m}   Counter  byte  # of" for m in ("dram__bytes_op_read", "l1tex__m_xbar2l1tex_read_bytes")
    )
    chosen = ncu.choose(listed)
    assert chosen["dram_read_bytes"] == "dram__bytes_op_read.sum"
    assert chosen["l1_read_bytes"] == "l1tex__m_xbar2l1tex_read_bytes.sum"
    assert "tma_read_bytes" not in chosen
    assert set(ncu.choose("no such option")) == set(ncu.CERTAIN) <= set(chosen)


def stand_in(folder: Path, script: str) -> Path:
    """A program called ncu that does what ``script`` says of its own arguments."""
    path = folder / "ncu"
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_profile_is_what_the_child_printed_and_its_counters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(
        tmp_path,
        "if '--query-metrics' in sys.argv: sys.exit(0)\n"
        f"open(sys.argv[sys.argv.index('--log-file') + 1], 'w').write({WIDE!r})\n"
        "print(' '.join(sys.argv[-2:]))",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    printed, rows = ncu.profile(["child", "--flag"], 30)
    assert printed == "child --flag\n"
    assert rows == [{"dram_read_bytes": 1234560, "l2_read_sectors": 4000}, {"l2_read_sectors": 5000}]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('==ERROR== ERR_NVGPUCTRPERM - no permission')", "run as root"),
        ("print('Traceback: out of luck'); sys.exit(3)", "status 3 and 0 rows: .*out of luck"),
    ],
)
def test_what_keeps_ncu_from_counting_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(ncu, "find", lambda: str(stand_in(tmp_path, script)))
    with pytest.raises(FlashgenError, match=said):
        ncu.profile(["child"], 30)


def test_one_that_hangs_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import subprocess, time\n"
        "if '--query-metrics' not in sys.argv: subprocess.Popen(['sleep', '60']); time.sleep(60)"
    )
    monkeypatch.setattr(ncu, "find", lambda: str(stand_in(tmp_path, script)))
    start = time.monotonic()
    with pytest.raises(FlashgenError, match=r"longer than 0\.5 s"):
        ncu.profile(["child"], 0.5)
    assert time.monotonic() - start < 20


def test_without_ncu_the_message_says_what_it_comes_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ncu, "ELSEWHERE", str(tmp_path / "nowhere"))
    with pytest.raises(FlashgenError, match="CUDA toolkit"):
        ncu.find()


def test_ratios_are_of_bytes_and_missing_counters_leave_gaps() -> None:
    c = next(counted())
    plan = best_plan(c.spec.canonical_json(), "h100", "bf16", c.work, c.schedule)
    p = counters.predicted(c, plan)
    w, item = c.work, 2
    blocks = w.B * w.Hq * -(-w.Nq // plan.kernels[0].side("BLOCK_M"))
    rows = w.B * w.Hq * w.Nq * c.spec.d_qk * item
    assert p.read == rows + 2 * blocks * w.Nk * c.spec.d_qk * item
    assert p.written == rows + w.B * w.Hq * w.Nq * 4
    seen = {"l2_read_sectors": p.read / 32, "dram_read_bytes": 3.0 * p.dram, "dram_write_bytes": 1.0 * p.dram}
    row = counters.compare(c, Plan.from_json(plan.to_json()), seen)
    found = {f.what: f.value for f in counters.figures(row)}
    assert found["read from L2 / requested"] == pytest.approx(1)
    assert found["DRAM / model"] == pytest.approx(4)
    assert "written to L2 / requested" not in found


@pytest.mark.slow
def test_a_dry_run_writes_what_is_counted_and_modelled(tmp_path: Path) -> None:
    report = bench(Choice(("counters",)), dry_run=True, out=tmp_path)
    assert not report.problems
    assert len(report.counters) == len(list(counted())) == 5
    lines = (tmp_path / "counters.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    assert "model_dram_bytes" in lines[0]
