"""What the instructions of a Hopper kernel take of an SM: clocks of one of its four schedulers.

Rates are those of the CUDA C++ Programming Guide (arithmetic throughput, compute capability 9.0): a quarter
of the SM's lanes. What follows ``ISSUE`` is no more documented than latencies are; it was fitted to full and
causal attention on H100 as the constants of ``cost`` were, and belongs to the machine, not to kernels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from .sass import Instruction

#: Schedulers of an SM, bytes its shared memory moves a clock, and bytes of a word of each thread of a warp.
SCHEDULERS, SMEM_BYTES, WARP_BYTES = 4, 128, 128
#: Clocks between two issues of a scheduler, on average: more than one for conflicts of registers' banks and
#: fetches of instructions.
ISSUE = 1.25
#: From the last dot of a group, and the last warp at a barrier, to the warps that wait for it.
DOT_LATENCY, SYNC_LATENCY = 70.0, 21.3
#: From a copy, or a tile asked for by its descriptor, to its bytes where L2 is free.
COPY_LATENCY, FETCH_LATENCY = 676.0, 555.0
#: From the end of an instruction on its pipe until its operands may be overwritten.
RELEASE = 7.8
#: What loads, stores and copies take of shared memory's clocks from dots: a share of all.
SMEM_SHARE = 0.24
#: Clocks of the memory pipe for a word of each thread.
WORD = 4.0


class Pipe(IntEnum):
    """The units of a scheduler, and its share of what an SM has once."""

    ANY = 0
    FLOAT = 1
    INTEGER = 2
    SPECIAL = 3
    UNIFORM = 4
    MEMORY = 5
    MATRIX = 6


#: Clocks of work that wait in the queue of each pipe while the warp goes on.
QUEUED = (0.0, 0.0, 0.0, 0.0, 0.0, 21.6, 200.0)


class Event(IntEnum):
    """What an instruction starts or waits for, beside its pipe."""

    NOTHING = 0
    DOT = 1  # runs on by itself
    DOTS_AWAITED = 2
    SYNC = 3  # all warps of a block wait for each other
    COPY = 4  # from global to shared memory, past the registers
    COMMIT = 5  # the copies so far are a group
    COPIES_AWAITED = 6
    FETCH = 7  # a tile by its descriptor, which one warp asks for
    FETCH_AWAITED = 8
    LOAD = 9  # from global memory to registers, or the other way


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction of a loop. ``busy``: clocks of its pipe; ``latency``: from then to its result; ``smem``:
    clocks of the SM's shared memory. ``amount``: bytes of a copy, of all schedulers; groups that may still be
    under way where it waits; whether a dot ends a group. ``issue``: clocks until the scheduler can issue
    another step. The rest is as in ``Instruction``."""

    pipe: Pipe = Pipe.ANY
    busy: float = 0.0
    latency: float = 0.0
    smem: float = 0.0
    event: Event = Event.NOTHING
    amount: int = 0
    stall: int = 1
    writes: int = 0
    reads: int = 0
    waits: int = 0
    issue: float = ISSUE


_FLOAT = Step(Pipe.FLOAT, 1.0)
_INTEGER = Step(Pipe.INTEGER, 1.2)
_SPECIAL = Step(Pipe.SPECIAL, 8.25, 15.1)
_SHARED = Step(Pipe.MEMORY, WORD, 30.0, SMEM_SHARE * SCHEDULERS)
_LOCAL = replace(_SHARED, latency=40.0)
_GLOBAL = replace(_SHARED, event=Event.LOAD, amount=SCHEDULERS * WARP_BYTES)
_MOVED = Step(latency=20.0)
#: A dot of one warp: its pipe is busy longer than for its share of an asynchronous one.
_WARP_DOT = Step(Pipe.MATRIX, 6.5)

_STEPS: dict[str, Step] = {
    **dict.fromkeys(("FADD", "FMUL", "FFMA", "HADD2", "HMUL2", "HFMA2"), _FLOAT),
    "IMAD": Step(Pipe.FLOAT, 2.0),
    **dict.fromkeys(
        "IADD3 LOP3 FMNMX FSETP ISETP SEL FSEL MOV SHF LEA PRMT VIADD F2FP I2FP IMNMX VIMNMX IABS PLOP3 SGXT"
        " BMSK R2P P2R FCHK HMNMX2 CS2R SHL SHR IADD".split(),
        _INTEGER,
    ),
    **dict.fromkeys("MUFU I2F F2I F2F FRND I2I F2IP I2IP FLO POPC BREV".split(), _SPECIAL),
    "SHFL": Step(Pipe.MEMORY, 4.0, 24.0),
    **dict.fromkeys(("LDS", "STS", "LDSM", "STSM", "ATOMS"), _SHARED),
    **dict.fromkeys(("LDL", "STL"), _LOCAL),
    **dict.fromkeys(("LDG", "LD", "STG", "ST", "RED", "ATOM", "ATOMG"), _GLOBAL),
    "LDGSTS": replace(_GLOBAL, event=Event.COPY),
    "LDGDEPBAR": Step(event=Event.COMMIT),
    **dict.fromkeys(("S2R", "S2UR", "R2UR", "VOTE", "VOTEU", "ELECT", "LDC", "ULDC"), _MOVED),
    **dict.fromkeys(("HMMA", "IMMA", "QMMA"), _WARP_DOT),
    "BAR": Step(event=Event.SYNC),
    "UTMALDG": Step(event=Event.FETCH),
}
#: Of ``IMAD``, those that move or shift: the float pipe does them at full rate.
_PLAIN_IMAD = (".MOV", ".SHL", ".IADD")
#: Products of 64 bits, and upper halves of them, at a quarter of the issue rate, during which nothing else is
#: issued: what drawing random bits takes says so (docs/measurements.md); why the issue waits is not known.
_WIDE_IMAD = (".WIDE", ".HI")
_WIDE = Step(Pipe.FLOAT, 4 * ISSUE, issue=4 * ISSUE)
_SHAPE = re.compile(r"\.(\d+)x(\d+)x(\d+)\b")
_GROUPS = re.compile(r"0x([0-9a-f]+)\s*$")


def steps(loop: Sequence[Instruction]) -> list[Step]:
    """What each instruction of ``loop`` takes."""
    return [
        replace(_step(one), stall=max(1, one.stall), writes=one.writes, reads=one.reads, waits=one.waits)
        for one in loop
    ]


def _step(one: Instruction) -> Step:
    kind, name = one.kind, one.name
    if kind == "HGMMA":
        return _dot(one)
    if kind in ("WARPGROUP", "DEPBAR"):
        groups = _GROUPS.search(one.operands)
        event = Event.DOTS_AWAITED if kind == "WARPGROUP" else Event.COPIES_AWAITED
        return Step(event=event, amount=int(groups[1], 16)) if groups else Step()
    if kind == "SYNCS":
        return Step(event=Event.FETCH_AWAITED) if "TRYWAIT" in name else Step()
    if kind == "IMAD" and any(x in name for x in _PLAIN_IMAD):
        return _FLOAT
    if kind == "IMAD" and any(x in name for x in _WIDE_IMAD):
        return _WIDE
    if kind not in _STEPS:
        return Step(Pipe.UNIFORM, 1.8) if kind.startswith("U") else Step()
    found = _STEPS[kind]
    if not found.smem:
        return found
    words = 4 if "128" in name or ".4" in name else 2 if "64" in name or ".2" in name else 1
    busy, smem = words * found.busy, words * found.smem
    return replace(found, busy=busy, smem=smem, amount=words * found.amount)


def dot_sides(one: Instruction) -> tuple[int, int, int]:
    """Rows, columns and depth of an asynchronous dot."""
    shape = _SHAPE.search(one.name)
    assert shape is not None, one.name
    return int(shape[1]), int(shape[2]), int(shape[3])


def _dot(one: Instruction) -> Step:
    """An asynchronous dot: at the peak rate, or as long as its operands take of shared memory."""
    m, n, k = dot_sides(one)
    item = 32 // k  # bytes: k fills 32 of them
    rows = m if one.operands.split(",")[1].strip().startswith("gdesc") else 0  # else from registers
    return Step(
        Pipe.MATRIX, n / 2, smem=(rows + n) * k * item / SMEM_BYTES, event=Event.DOT,
        amount=int("gsb0" in one.operands),
    )  # fmt: skip
