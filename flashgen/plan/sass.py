"""The instructions of a compiled kernel's inner loops, read from its disassembly (``cuobjdump -sass``).

Beside each instruction stands its encoding. Its upper word says what ptxas decided of the issue: how many
clocks the warp waits before its next instruction, which of six barriers the result and the operands
release, and which it waits for (since Volta; Jia et al., "Dissecting the NVIDIA Volta GPU Architecture via
Microbenchmarking", 2018, section 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

_LINE = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?(\S+)\s*(.*?)\s*;\s*/\* 0x[0-9a-f]+ \*/")
_UPPER = re.compile(r"\s*/\* 0x([0-9a-f]+) \*/\s*$")
_TARGET = re.compile(r"\b0x([0-9a-f]+)\s*$")
#: Where the control bits start in the upper word.
_CONTROL = 41
#: No barrier.
NONE = 7
#: Instructions whose operands say what they take: of others they are not kept.
_TOLD = ("HGMMA", "WARPGROUP", "DEPBAR")


@dataclass(frozen=True, slots=True)
class Instruction:
    """``name`` with its suffixes (``HGMMA.64x64x16.F32.BF16``). ``stall``: clocks until the warp may issue
    its next one; ``writes``, ``reads``: the barrier that is released with its result and with its operands
    (7: none); ``waits``: a bit for each barrier it waits for."""

    name: str
    operands: str
    stall: int
    writes: int
    reads: int
    waits: int

    @property
    def kind(self) -> str:
        """The name without suffixes."""
        return self.name.split(".")[0]


def inner_loops(text: str) -> tuple[tuple[Instruction, ...], ...]:
    """The loops of the first kernel in ``text`` that hold dots and no such loop, as they follow each other.

    What a loop skips on its way (waiting again for a barrier, at the end of the code) is not in it.
    """
    code = list(_instructions(text))
    number = {at: i for i, (at, _, _) in enumerate(code)}
    spans = []
    for i, (_, jumps, _) in enumerate(code):
        start = number.get(jumps, i + 1) if jumps else i + 1
        inside = {other.kind for _, _, other in code[start : i + 1]}
        if inside & {"HGMMA", "HMMA"} and "EXIT" not in inside:
            spans.append((start, i + 1))
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return tuple(tuple(one for _, _, one in code[a:b]) for a, b in inner)


def _instructions(text: str) -> Iterator[tuple[int, int, Instruction]]:
    """Address, address jumped to (0: none) and instruction, of the first kernel."""
    lines = iter(text.splitlines())
    for line in lines:
        found = _LINE.match(line)
        upper = _UPPER.match(next(lines, "")) if found else None
        if found is None or upper is None:
            continue
        at, predicate, name, operands = found.groups()
        control = int(upper[1], 16) >> _CONTROL
        jumps = _TARGET.search(operands) if name.startswith("BRA") else None
        kept = operands if name.startswith(_TOLD) else ""
        one = Instruction(
            "NOP" if predicate == "!PT" else name, kept,
            control & 15, control >> 5 & 7, control >> 8 & 7, control >> 11 & 63,
        )  # fmt: skip
        yield int(at, 16), int(jumps[1], 16) if jumps else 0, one


def to_lists(loops: Sequence[Sequence[Instruction]]) -> list[list[list[Any]]]:
    """``loops`` for JSON."""
    return [[list(astuple(one)) for one in loop] for loop in loops]


def from_lists(lists: Sequence[Sequence[Sequence[Any]]]) -> tuple[tuple[Instruction, ...], ...]:
    """``loops`` again from ``to_lists``."""
    return tuple(tuple(Instruction(*one) for one in loop) for loop in lists)
