"""Registers a thread as ptxas and LLVM hand them out: an estimate, until the compiler says."""

from __future__ import annotations

import math

from flashgen.plan.model.facts import BodyFacts, DotFacts
from flashgen.plan.model.tiling import Tiling

#: Registers beside the tiles. Each 16 bytes a thread copies need a 64-bit address; while there is room,
#: ptxas spends EAGER_RATE times as many to start copies early. TIGHT_REGISTERS are what it finds no way
#: around when room runs out: strides, counters, bounds, softmax temporaries (sm_90, Triton 3.6).
EAGER_RATE, TIGHT_REGISTERS = 4.2, 52.0
#: The same under a limit stated to it, which it works harder for.
STATED_REGISTERS = 16.0
FRAGMENT_SHARE = 0.4
#: Registers beside the tiles where descriptors do the addressing.
DESCRIBED_REGISTERS = 34.0
#: And for each product of a pass beyond two, whose results and operands are in flight together; under a
#: stated limit one of them is not.
FURTHER_DOT_REGISTERS = 25.0


def register_parts(t: Tiling) -> dict[str, float]:
    """Estimated 32-bit registers a thread in the worst loop, by what holds them."""
    found: list[dict[str, float]] = []
    for body in t.facts.loops or (t.facts.body,):
        words = max((sum(t.bytes_of(x) for x in alive) for alive in body.pressure), default=0) / 4
        tiles = words / t.threads
        # One 64-bit address for each 16 bytes a thread copies.
        by_address = [x for x in body.loads if len(x.axes) > 1 and not t.by_descriptor(x)]
        addresses = sum(2 * t.bytes_of(x) / 16 / t.threads for x in by_address)
        operands = max((_fragments(t, d) for d in body.dots), default=0.0)
        parts = {"tiles": tiles, "addresses": addresses, "base": _base(t, body, tiles, addresses)}
        if operands:
            parts["operands"] = operands
        found.append(parts)
    return max(found, key=lambda parts: sum(parts.values()))


def _fragments(t: Tiling, d: DotFacts) -> float:
    """Registers of a dot's operands on the fp32 lanes, which hold rows and columns of several results.

    ptxas keeps FRAGMENT_SHARE of them at a time; threads with few results need next to none.
    """
    each = t.per_thread(d)
    return FRAGMENT_SHARE * 2 * math.sqrt(each) * t.sizes[d.k] if t.fma(d) and each >= 4 else 0.0


def _base(t: Tiling, body: BodyFacts, tiles: float, addresses: float) -> float:
    room = t.register_limit - tiles - addresses
    beyond = len({d.product for d in body.dots}) - 2
    in_flight = FURTHER_DOT_REGISTERS * max(0, beyond)
    wanted = in_flight + (DESCRIBED_REGISTERS if t.described else EAGER_RATE * addresses)
    if wanted <= room:
        return wanted
    if t.plan.max_registers:
        less = FURTHER_DOT_REGISTERS * max(0, beyond - 1) + (0.0 if t.described else STATED_REGISTERS)
        return max(room, less)
    return max(room, min(wanted, in_flight + TIGHT_REGISTERS) if t.described else TIGHT_REGISTERS)


def registers(t: Tiling) -> float:
    """Estimated registers a thread would like; above the target's limit they spill."""
    return sum(register_parts(t).values())


def spilled(t: Tiling, wanted: float) -> int:
    """Bytes a thread spills when it would like ``wanted`` registers."""
    return max(0, round(4 * (wanted - t.register_limit)))
