"""The clocks of a kernel's loops from its compiled code, where the target says at what clock it runs them.

Which loop of the code is which of the program's follows from their order. A kernel whose loops are not those
expected keeps the estimates of ``passes``; so does one with more than two products a pass (a backward): there
the instructions told less of times than the estimates did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from flashgen.plan.model.facts import LoopFacts

from .pipes import Event, Pipe, dot_sides, steps
from .plan import LoopClocks, Measured
from .resources import Tiling, blocks_per_sm
from .sass import Instruction
from .sectors import sent
from .simulate import pass_clocks

#: Bytes a clock that L2 sends to an SM at most.
L2_BYTES = 64.0
#: What a block alone on its SM takes of the clocks simulated for it: its warps fetch the same instructions at
#: about the same time; whether that is why is not known.
ALONE = 0.85
#: The share of the copies that fill a pipeline for which its warps wait when they enter the loop.
FILLING = 0.17
#: Products of a pass whose code is looked at.
PRODUCTS = 2


def simulated(t: Tiling, compiled: Measured, loops: Sequence[Sequence[Instruction]]) -> Measured:
    """``compiled`` with the clocks of its loops, where ``loops``, those of its code that hold dots, are those
    of the program."""
    return replace(compiled, loops=_loop_clocks(t, compiled, loops))


def _loop_clocks(
    t: Tiling, compiled: Measured, loops: Sequence[Sequence[Instruction]]
) -> tuple[LoopClocks | None, ...]:
    boost = t.target.boost
    inner = [body for body in t.facts.loops if body.dots and not body.loops]
    if not boost or len(inner) != len(loops) or not all(map(_known, [t] * len(inner), inner, loops)):
        return ()
    per_sm, _ = blocks_per_sm(t, compiled.smem_bytes, compiled.registers)
    scale = t.target.number("clock") / boost
    found = iter([_clocks(t, b, code, max(1, per_sm), scale) for b, code in zip(inner, loops, strict=True)])
    return tuple(next(found) if body in inner else None for body in t.facts.loops)


def _known(t: Tiling, body: LoopFacts, code: Sequence[Instruction]) -> bool:
    """Whether ``code`` makes one pass of two products: its asynchronous dots have the FLOPs of ``body``."""
    if len({d.product for d in body.dots}) > PRODUCTS:
        return False
    sides = [dot_sides(one) for one in code if one.kind == "HGMMA"]
    if not sides:
        return True
    flops = sum(2 * m * n * k for m, n, k in sides) * max(1, t.warps // 4)
    return math.isclose(flops, sum(t.flops(d) for d in body.dots), rel_tol=0.01)


def _clocks(t: Tiling, body: LoopFacts, code: Sequence[Instruction], per_sm: int, scale: float) -> LoopClocks:
    """Clocks of the target: between one block on an SM and as many as fit, in proportion."""
    fetched = float(sum(t.bytes_of(x) for x in body.loads if t.by_descriptor(x)))
    copied = [x for x in body.loads if not t.by_descriptor(x)]
    times = sum(sent(t, x) for x in copied) / max(1, sum(t.bytes_of(x) for x in copied))
    taken = [replace(s, amount=round(times * s.amount)) if s.event == Event.COPY else s for s in steps(code)]
    warps = max(1, t.warps // 4)

    def clocks(blocks: int) -> float:
        if t.warps < 4:  # each on schedulers of its own, as long as there are any
            blocks = max(1, round(blocks * t.warps / 4))
        return scale * pass_clocks(taken, blocks, warps, fetched, max(1, t.stages - 1), L2_BYTES)

    dots = scale * warps * sum(s.busy for s in taken if s.pipe == Pipe.MATRIX)
    alone = max(ALONE * clocks(1), dots)
    full = clocks(per_sm) if per_sm > 1 else alone
    step = (full - alone) / max(1, per_sm - 1)
    copies = scale * warps * sum(s.busy for s in taken if s.event == Event.COPY)
    filling = FILLING * (t.stages - 1) * copies
    return LoopClocks(tuple(round(alone + i * step, 1) for i in range(per_sm)), round(filling, 1))
