"""The explanation: what was chosen, what limits it, formulas with numbers, and the command's errors."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flashgen.cli.app import app
from flashgen.driver import lower_spec
from flashgen.explain.summary import LIMITS, summary
from flashgen.explain.words import explain
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import Cost
from flashgen.plan.search import candidates, choose
from flashgen.size import show_size
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.targets.target import Target, load_target

from .programs import program


def text(
    mask: str | None = None, target: str = "h100", sram: int | None = None, schedule: str = "flash2"
) -> str:
    console = Console(width=100, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(explain(program(128, mask, schedule=schedule), load_target(target, sram)))
    return captured.get()


def test_it_names_the_choice_and_what_binds() -> None:
    said = text("causal")
    plan = choose(program(128, "causal"), "h100")
    assert str(plan.kernels[0]) in said
    assert f"{show_size(plan.smem_bytes)} of 227 KiB" in said
    assert re.search(r"\d blocks? an SM, \d+ warps, limited by (shared memory|registers)", said)
    assert "256*BLOCK_M + 512*BLOCK_N*stages + 1024" in said
    assert "the longest programs first" in said


def test_it_begins_with_what_everybody_understands() -> None:
    chosen, speed, limit, empty, head, *_ = text("causal").splitlines()
    assert re.fullmatch(r"Chosen: \w+ on h100, bf16: tiles of \d+ queries x \d+ keys, \d+ warps", chosen)
    assert re.fullmatch(r"Speed:  [\d.,]+ [um]s predicted: \d+ TFLOP/s, \d+% of the data sheet's 989", speed)
    assert re.fullmatch(r"Limit:  fetching tiles from the L2 cache; \d blocks? an SM, limited by .*", limit)
    assert (empty, head[:7]) == ("", "Plan of")
    said = summary(program(128, "causal"), load_target("h100"))
    assert said.lines == (chosen, speed, limit)


def test_of_a_backward_it_then_tells_the_derivatives() -> None:
    done = CliRunner().invoke(
        app, ["explain", "causal", "--backward", "--seqlen", "512"], env={"COLUMNS": "200"}
    )
    lines = done.stdout.splitlines()
    assert [x.split(":")[0] for x in lines[:3]] == ["Chosen", "Speed", "Limit"]
    assert "bwd_dq tiles of " in lines[0]
    assert re.search(r", in bwd_dk?v?q?;", lines[2]), "of the longest kernel"
    assert lines[4] == "score = s"


def test_what_limits_a_kernel_is_in_words_for_every_limit() -> None:
    bounds = set(re.findall(r'^            "(.+?)": ', inspect.getsource(Cost), re.M))
    assert bounds | {"DRAM traffic", "launch and latency"} == set(LIMITS)


def test_it_prints_the_traffic_and_how_it_grows() -> None:
    said = " ".join(text("causal").split())
    assert "2*B*Hq*N*(3*d + 2 + N*d/BLOCK_M)" in said
    assert "where Nq = Nk = N, BLOCK_M divides N, BLOCK_N divides BLOCK_M" in said
    assert "Theta(N^2 d^2 / M): 24*B*Hq*N**2*d**2/M leads" in said
    assert re.search(r"\d\*BLOCK_M\*BLOCK_N \+ 6\*BLOCK_M\*d \+ \d+\*BLOCK_M", said), "O, Q, S and P on chip"


def test_it_tells_what_data_decide() -> None:
    p = lower_spec(load_spec(find("padded"))).program
    console = Console(width=200)
    with console.capture() as captured:
        console.print(explain(p, load_target("h100")))
    assert "the elements of lengths; the value takes each as Nk, or true" in captured.get()


def test_it_tells_the_domains_of_the_loops() -> None:
    said = text("causal & (k >= qpos - 1024)")
    assert "full_lo <= tile < full_hi" in said
    assert re.search(r"visited: \d+\.\d of \d+ k tiles \(\d+%\)", said)


def test_it_tells_what_was_rejected_and_why() -> None:
    said = text(sram=65_536)
    assert "64 KiB (stated by the user; the hardware has 227 KiB)" in said
    assert "does not exist" not in said
    flat = " ".join(said.split())
    assert re.search(
        r"\d+ too much shared memory; for example .*: needs \d+ KiB of shared memory, 64 KiB", flat
    )


def test_it_says_when_no_such_gpu_exists() -> None:
    flat = " ".join(text(sram=1 << 20).split())
    assert "note: 1 MiB of shared memory a thread block is more than the 227 KiB of a real h100" in flat


@pytest.mark.parametrize("target", ["cpu", "t4", "mi300x"])
def test_every_kind_of_target_is_explained(target: str) -> None:
    dtype = "fp16"
    console = Console(width=100)
    with console.capture() as captured:
        console.print(explain(program(64), load_target(target), dtype))
    assert target in captured.get()


def test_every_kernel_of_a_schedule_is_explained() -> None:
    p = program(64, schedule="standard")
    console = Console(width=100)
    with console.capture() as captured:
        console.print(explain(p, load_target("h100")))
    for kernel in p.kernels:
        assert f"Kernel {kernel.name}" in captured.get()


def test_the_command_explains_a_spec_of_the_gallery() -> None:
    done = CliRunner().invoke(
        app, ["explain", "causal", "--seqlen", "4096", "--sram", "96KiB", "--heads", "32/8"]
    )
    assert done.exit_code == 0, done.output
    assert "Hq=32 Hkv=8 Nq=4096 Nk=4096" in done.output
    assert "96 KiB" in done.output
    assert max(map(len, done.output.splitlines())) <= 80, "wrapped at the console's width"


@pytest.mark.slow
def test_visited_tiles_are_those_of_the_axis_that_a_kernel_loops_over() -> None:
    def visited(name: str, *options: str) -> list[str]:
        done = CliRunner().invoke(app, ["explain", name, "--backward", "--seqlen", "4096", *options])
        return [line for line in done.output.splitlines() if line.startswith("visited")]

    over_keys, over_queries = visited("causal", "--heads", "32/8")
    assert " k tiles (5" in over_keys
    assert " q tiles (5" in over_queries
    # The last kernel of each runs over batches, or over the entries of a table, beside tiles.
    assert len(visited("evoformer")) == 2
    assert [line.rpartition("(")[2] for line in visited("t5_bias")] == ["100%), the others are empty"] * 3


@pytest.mark.parametrize(
    "options, said",
    [
        (["--target", "h10"], "did you mean h100?"),
        (["--sram", "12X"], "unknown unit 'X'"),
        (["--sram", "1KiB"], "the smallest that works"),
        (["--heads", "8/3"], "no multiple of 3"),
        (["--heads", "a"], "write 32 or 32/8"),
        (["--target", "t4", "--dtype", "bf16"], "t4 has no bf16"),
        (["--target", "cpu", "--sram", "96KiB"], "target cpu runs no thread blocks"),
    ],
)
def test_the_command_answers_mistakes(options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["explain", "causal", *options])
    assert done.exit_code == 1
    assert said in done.stderr.replace("\n", " ")


@pytest.mark.slow
def test_bytes_without_a_closed_form_are_printed_as_the_sum_they_are() -> None:
    def said(name: str) -> str:
        return CliRunner().invoke(app, ["explain", name, "--seqlen", "1000"]).stdout

    window = said("sliding_window")
    assert "a sum over tiles, below" in window
    total = window.split("Requested bytes, at all lengths\n")[1].split("\n\n")[0]
    assert "Sum(" in total
    assert "(q_tile, 0," in re.sub(r"\s+", " ", total)
    assert "at all lengths" not in said("causal")


def test_the_explanation_tells_what_other_launch_orders_would_take() -> None:
    said = CliRunner().invoke(app, ["explain", "causal", "-t", "h100", "--backward"]).stdout
    assert said.count("had the programs been launched otherwise") == 2
    assert said.count("the shortest programs first") == 2
    assert "One kernel for all gradients" in re.sub(r"\s+", " ", said)


def test_launch_orders_of_one_effect_share_a_line() -> None:
    said = CliRunner().invoke(app, ["explain", "full", "-t", "h100", "--schedule", "standard"]).stdout
    scores = re.sub(r"\s+", " ", said.split("launched otherwise:\n")[1].split("\n\n")[0])
    assert scores.count(" more: ") == scores.count("DRAM") + 1 == 3, "23 orders, three effects"
    assert scores.count(" > ") == 3 * 3 * 3


def test_a_length_whose_tiles_cannot_be_added_up_leaves_those_figures_out() -> None:
    result = CliRunner().invoke(app, ["explain", "causal", "--seqlen", str(10**11)])
    assert result.exit_code == 0
    assert re.search(r"requested from L2 +left out", result.stdout)
    assert "16,777,216 tiles" in " ".join(result.stdout.split())


def test_the_head_dims_and_the_time_of_all_kernels_are_there() -> None:
    def said(*args: str) -> str:
        return CliRunner().invoke(app, [*args]).stdout

    assert "Nk=8192 D=128\n" in said("explain", "causal")
    assert "Nk=8192 D=192 Dv=128\n" in said("explain", "mla_prefill")
    assert "D=192 Dv=128" in said("compare-targets", "mla_prefill", "-t", "h100")
    both = said("explain", "causal", "--backward")
    (total,) = re.findall(r"predicted: ([\d,.]+) us for the 2 kernels together", both)
    each = [float(us.replace(",", "")) for us in re.findall(r"predicted: ([\d,.]+) us, ", both)]
    assert len(each) == 2
    assert float(total.replace(",", "")) == pytest.approx(sum(each), abs=0.2)


@pytest.mark.parametrize("command", ["explain", "compare-targets", "build"])
def test_tensors_that_no_gpu_can_hold_are_noted(command: str, tmp_path: Path) -> None:
    extra = ["--no-confirm", "-o", str(tmp_path)] if command == "build" else []
    result = CliRunner().invoke(app, [command, "causal", "-t", "h100", "--batch", "1000", *extra])
    words = " ".join(result.stdout.split())
    # q, k, v and o in 16 bits, and the log-sum-exp.
    needed = 1000 * 32 * 8192 * (4 * 128 * 2 + 4) / 1e9
    assert f"tensors take {needed:,.1f} GB, and h100 has 80 GB (hbm_capacity)" in words
    assert "hbm_capacity" not in CliRunner().invoke(app, [command, "causal", "-t", "h100", *extra]).stdout


@pytest.mark.parametrize("spills", [True, False])
def test_registers_past_the_limit_are_said_to_spill(spills: bool) -> None:
    found = candidates(program(128, "causal"), 0, load_target("h100"), "bf16")
    best = next(c for c in found if c.cost and (c.spill_bytes > 0) == spills)
    console = Console(width=200, no_color=True, force_terminal=False)
    with console.capture() as captured:
        ranked = [[best, *found]]
        console.print(explain(program(128, "causal"), load_target("h100"), ranked=ranked))
    (line,) = [x for x in captured.get().splitlines() if x.startswith("registers a thread")]
    assert (f"about {best.spill_bytes} B a thread of them spill" in line) == spills
    assert ("spill" in line) == spills


def test_rows_of_a_table_that_differ_look_different() -> None:
    plain = choose(program(128, "causal"), "h100").kernels[0]
    forms = {
        replace(plain, loads=loads, max_registers=cap).short()
        for loads in ("pointer", "descriptor")
        for cap in (0, 168)
    }
    assert len(forms) == 4


def test_what_limits_a_kernel_is_what_takes_the_most_of_its_clocks() -> None:
    w = Workload(4, 32, 32, 8192, 8192)

    def limit(target: Target) -> str:
        best = candidates(program(128, "causal"), 0, target, "fp16", w)[0]
        assert best.cost is not None
        return best.cost.bound

    assert limit(load_target("h100")) == "L2 traffic", "787 of 853 clocks, 477 of dots"
    assert limit(load_target("a100")) == "arithmetic of dots"
    assert limit(load_target("h100", 16 << 10)) == "waits that no other work fills", "one warp an SM"
