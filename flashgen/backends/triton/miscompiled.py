"""Compiled code whose dots read their operands from a wrong address: an error of ptxas, found by looking.

A dot of a warp group reads shared memory by a 64-bit descriptor. Its upper word holds the swizzle and the
stride, its lower word the address; ptxas adds the upper word, a constant, to the upper half of a 64-bit
address, which is zero. ptxas 12.8 (Triton 3.6) sometimes adds it to a register that holds something else,
and takes the address from another: wrong results or an illegal access. It happens to operands 16 columns wide
that stand beside wider ones (head dims 40, 72, 80, 200) and that no pipeline loads. ptxas 12.9 is right.
"""

from __future__ import annotations

import re

_ADD = re.compile(r"\bU?IADD3\.X (?P<to>U?R\d+), (?P<half>U?R\w+), (?P<upper>-?0x[0-9a-f]+), U?RZ, U?P\w+")
_RESULT = re.compile(r"(?:@!?U?P\w+ +)?(?P<name>[A-Z0-9_.]+) +(?:U?P\w+, *)*(?P<kind>U?R)(?P<number>\d+)\b")
_ZERO = re.compile(
    r"\b(UMOV UR\d+, URZ|MOV R\d+, RZ|IMAD\.MOV\.U32 R\d+, RZ, RZ, RZ|CS2R(\.32)? R\d+, SRZ"
    r"|HFMA2(\.MMA)? R\d+, -RZ, RZ, 0, 0)"
)
#: Instructions whose first register is no result, and those that write a pair.
_NO_RESULT = ("ST", "RED", "BAR", "LDGSTS", "HGMMA")
_PAIRS = (".64", ".WIDE", "CS2R")
#: Of a descriptor's upper word: the swizzle, which is not zero, and bits that are.
_SWIZZLE, _ZERO_BITS = 30, 0x3FFF0000


def wrong_operands(sass: str) -> str:
    """What is wrong with the operands of dots in a disassembly (``cuobjdump -sass``); nothing: ``""``."""
    last: dict[str, str] = {}  # what wrote each register last
    for line in sass.splitlines():
        added = _ADD.search(line)
        if added and _is_descriptor(int(added["upper"], 16) & 0xFFFFFFFF):
            half = added["half"]
            if half not in ("RZ", "URZ") and not _ZERO.search(last.get(half, "")):
                return f"miscompiled: ptxas adds {half} to the address of a dot's operand, where zero belongs"
        found = _RESULT.search(line)
        if found and not found["name"].startswith(_NO_RESULT):
            kind, number = found["kind"], int(found["number"])
            last[f"{kind}{number}"] = line
            if any(x in found["name"] for x in _PAIRS) and not found["name"].endswith(".32"):
                last[f"{kind}{number + 1}"] = line
    return ""


def _is_descriptor(upper: int) -> bool:
    return upper >> _SWIZZLE != 0 and upper & _ZERO_BITS == 0
