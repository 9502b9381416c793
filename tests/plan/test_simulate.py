"""The clocks of loops by their instructions: what they are read from, and what the machine does with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashgen.plan.pipes import (
    COPY_LATENCY,
    ISSUE,
    QUEUED,
    SCHEDULERS,
    SYNC_LATENCY,
    Event,
    Pipe,
    Step,
    steps,
)
from flashgen.plan.sass import NONE, Instruction, from_lists, inner_loops, to_lists
from flashgen.plan.simulate import BEFORE, PASSES, pass_clocks

FREE = Step(writes=NONE, reads=NONE)
L2 = 64.0


def clocks(loop: list[Step], blocks: int = 1, warps: int = 1, fetched: float = 0.0, ahead: int = 1) -> float:
    return pass_clocks(loop, blocks, warps, fetched, ahead, L2)


def code(*lines: str) -> str:
    """A disassembly: ``0x…`` control word, then the instruction, sixteen bytes each."""
    out = []
    for i, line in enumerate(lines):
        control, instruction = line.split(" ", 1)
        out.append(f"        /*{16 * i:04x}*/                   {instruction} ;   /* 0x00000000000079ab */")
        out.append(
            f"                                                      /* 0x{int(control, 16) << 41:016x} */"
        )
    return "\n".join(["\tcode for sm_90a", "\t\tFunction : k", *out])


LOOP = (
    "0xe2 MOV R1, c[0x0][0x28]",
    "0xe4 HGMMA.64x64x16.F32.BF16 R24, gdesc[UR16], RZ, !UPT, gsb0",
    "0x17e2 @!PT LDS RZ, [RZ]",  # waits for barriers 1
    "0x2e1 SHFL.BFLY PT, R3, R2, 0x2, 0x1f",  # releases barrier 7 (none) with reads, writes 7
    "0xe5 @P0 BRA 0x10",
    "0xe5 EXIT",
    "0xe0 BRA 0x60",
)


def test_a_loop_is_read_with_what_the_compiler_decided() -> None:
    (loop,) = inner_loops(code(*LOOP))
    assert [one.kind for one in loop] == ["HGMMA", "NOP", "SHFL", "BRA"]
    dot, off, shuffle, _ = loop
    assert dot.operands.endswith("gsb0")
    assert (dot.stall, dot.writes, dot.reads, dot.waits) == (4, 7, 0, 0)
    assert (off.stall, off.writes, off.waits) == (2, 7, 2)
    assert (shuffle.stall, shuffle.reads) == (1, 2)
    assert from_lists(to_lists([loop])) == (loop,)


def test_loops_without_dots_and_loops_around_loops_are_not_asked_for() -> None:
    around = ("0xe2 MOV R1, R2", *LOOP[1:5], "0xe5 @P1 BRA 0x0")
    assert len(inner_loops(code(*around))) == 1
    assert inner_loops(code(*around))[0][0].kind == "HGMMA"
    assert inner_loops(code("0xe2 FADD R1, R2, R3", "0xe5 @P0 BRA 0x0")) == ()


def test_instructions_take_what_their_width_and_operands_say() -> None:
    def step(name: str, operands: str = "") -> Step:
        return steps([Instruction(name, operands, 0, NONE, NONE, 0)])[0]

    narrow, wide = step("LDS"), step("LDS.128")
    assert (wide.busy, wide.smem) == (4 * narrow.busy, 4 * narrow.smem)
    assert step("LDGSTS.E.BYPASS.128").amount == 4 * step("LDGSTS.E").amount == SCHEDULERS * 512
    loaded = step("HGMMA.64x64x16.F32.BF16", "R24, gdesc[UR16], RZ, !UPT")
    held = step("HGMMA.64x64x16.F32.BF16", "R56, R88, gdesc[UR16].tnspB, R56, gsb0")
    assert loaded.busy == held.busy == 32  # 64 x 64 x 16 at 1024 FLOPs a clock and scheduler
    assert (loaded.smem, held.smem) == (32, 16)  # 2 KiB of each operand, at 128 bytes a clock
    assert (loaded.amount, held.amount) == (0, 1)
    assert step("DEPBAR.LE", "SB0, 0x2") == replace(FREE, event=Event.COPIES_AWAITED, amount=2)
    assert step("UIADD3").pipe == Pipe.UNIFORM
    assert step("UTMALDG.4D").event == Event.FETCH
    assert step("SOMETHING.NEW") == FREE, "what is not known takes an issue"


def test_issue_bounds_plain_work_and_a_pipe_bounds_its_own() -> None:
    plain = [FREE] * 100
    assert clocks(plain, 4) == pytest.approx(4 * 100 * ISSUE, rel=0.01)
    special = [replace(FREE, pipe=Pipe.SPECIAL, busy=8.0), *[FREE] * 3] * 25
    assert clocks(special, 4) == pytest.approx(4 * 25 * 8, rel=0.02)


def test_a_wide_product_takes_four_issues_and_a_narrow_one_its_own() -> None:
    def loop(name: str) -> list[Step]:
        other = Instruction("LOP3.LUT", "", 1, NONE, NONE, 0)
        return steps([Instruction(name, "", 1, NONE, NONE, 0), other, other] * 30)

    for name in ("IMAD.WIDE.U32", "IMAD.HI.U32"):
        assert clocks(loop(name), 4) == pytest.approx(4 * 30 * 6 * ISSUE, rel=0.02)
    for name in ("IMAD", "IMAD.MOV.U32"):
        assert clocks(loop(name), 4) == pytest.approx(4 * 30 * 3 * ISSUE, rel=0.02)


def test_blocks_fill_the_gaps_that_one_leaves() -> None:
    stalling = [replace(FREE, stall=10)] * 50
    assert clocks(stalling) == pytest.approx(500, rel=0.01)
    assert clocks(stalling, 4) == pytest.approx(500, rel=0.02)
    assert clocks(stalling, 16) == pytest.approx(16 * 50 * ISSUE, rel=0.02)


def test_a_dot_runs_on_until_it_is_waited_for() -> None:
    dot = replace(FREE, pipe=Pipe.MATRIX, busy=200.0, event=Event.DOT, amount=1)
    wait = replace(FREE, event=Event.DOTS_AWAITED)
    work = [replace(FREE, stall=4)] * 100
    serial, overlapped = clocks([dot, wait, *work]), clocks([dot, *work, wait])
    assert overlapped == pytest.approx(400, rel=0.02)
    assert serial > 600
    assert clocks([dot, wait, *work], 6) == pytest.approx(6 * 200, rel=0.05), "the matrix unit is the limit"


def test_operands_in_shared_memory_slow_dots_down() -> None:
    dot = replace(FREE, pipe=Pipe.MATRIX, busy=16.0, smem=24.0, event=Event.DOT)
    store = replace(FREE, pipe=Pipe.MEMORY, busy=8.0, smem=8.0)
    assert clocks([dot] * 20, 4) == pytest.approx(4 * 20 * 24, rel=0.02)
    assert clocks([dot, store] * 20, 4) == pytest.approx(4 * 20 * 32, rel=0.05)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_copies_are_waited_for_unless_they_were_asked_for_early_enough(ahead: int) -> None:
    copy = replace(FREE, pipe=Pipe.MEMORY, busy=4.0, event=Event.COPY, amount=512)
    wait = replace(FREE, event=Event.COPIES_AWAITED, amount=ahead)
    work = [replace(FREE, stall=4)] * 100  # 400 clocks
    took = clocks([copy, replace(FREE, event=Event.COMMIT), wait, *work])
    assert took == pytest.approx(max(400, (COPY_LATENCY + 400) / (ahead + 1)), rel=0.05)


def test_l2_bounds_what_descriptors_fetch() -> None:
    fetch, wait = replace(FREE, event=Event.FETCH), replace(FREE, event=Event.FETCH_AWAITED)
    assert clocks([wait, fetch, FREE], 2, fetched=64_000.0, ahead=2) == pytest.approx(2 * 1000, rel=0.02)


def test_warps_of_a_block_meet_at_its_barrier() -> None:
    loop = [replace(FREE, event=Event.SYNC), *[replace(FREE, stall=10)] * 10]
    assert clocks(loop, 1, warps=2) == pytest.approx(100 + SYNC_LATENCY, rel=0.1)


loops = st.lists(
    st.builds(
        Step, pipe=st.sampled_from(Pipe), busy=st.sampled_from([1.0, 4.0, 30.0]), latency=st.just(20.0),
        smem=st.sampled_from([0.0, 8.0]), event=st.sampled_from(Event), amount=st.integers(0, 2),
        stall=st.integers(1, 15), writes=st.sampled_from([0, 1, NONE]), reads=st.sampled_from([2, NONE]),
        waits=st.sampled_from([0, 1, 3, 7]),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(loops, st.integers(1, 4), st.integers(1, 2), st.integers(1, 3))
def test_any_loop_ends_and_takes_at_least_its_issues_and_pipes(
    loop: list[Step], blocks: int, warps: int, ahead: int
) -> None:
    took = clocks(loop, blocks, warps, 4096.0, ahead)
    for pipe in set(Pipe) - {Pipe.ANY}:
        queued = QUEUED[pipe] / (PASSES - BEFORE)  # what may be left over when the last pass is issued
        assert took >= 0.8 * blocks * warps * sum(s.busy for s in loop if s.pipe == pipe) - queued
    assert took >= 0.8 * blocks * warps * len(loop) * ISSUE
    assert took >= 0.8 * sum(s.stall for s in loop)
