"""Shared memory, registers and occupancy of one kernel with numbers for its tiles.

Three sizes, three names: ``on_chip_bytes`` is liveness of all tiles (the papers' M); ``smem_bytes`` is
what Triton will take of shared memory, a rule over pipelined loads and dot operands; registers are an
estimate, replaced by the compiler's number when a plan is confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from flashgen.expr.nodes import Call, Const, Expr, Var
from flashgen.expr.ops import OPS
from flashgen.ir.program import Tile

from .facts import Axes, BodyFacts, DotFacts, KernelFacts, LoadFacts, LoopFacts
from .plan import ACC_BYTES, ITEM_BYTES, KernelPlan
from .target import Target

#: Bytes of a tile element by its dtype, where it does not follow from q's dtype.
_PLAIN_BYTES = {"int32": 4, "int64": 8, "bool": 1, "fp32": 4, "fp16": 2, "bf16": 2, "fp64": 8}
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
#: Shared memory of barriers where dots have a memory of their own (sm_100), at most.
BARRIER_BYTES = 1024
#: Spilled bytes a thread above which a plan is rejected once compiled.
MAX_SPILL_BYTES = 256


@dataclass(frozen=True)
class Tiling:
    """A kernel's facts with numbers: ``sizes`` of its axes, warps, stages, dtype and target."""

    facts: KernelFacts
    sizes: Mapping[str, int]
    warps: int
    stages: int
    dtype: str
    target: Target
    described: bool = False  # loops read K and V by tensor descriptors
    max_registers: int = 0  # stated to the compiler; 0 is the target's limit

    @property
    def register_limit(self) -> int:
        """Registers a thread may have."""
        return self.max_registers or self.target.integer("registers_per_thread")

    def count(self, axes: Axes) -> int:
        """Elements of a tile over ``axes``."""
        n = 1
        for a in axes:
            n *= self.sizes[a]
        return n

    def item(self, dtype: str) -> int:
        """Bytes of an element of a tile of ``dtype``."""
        if dtype == "elem":
            return ITEM_BYTES[self.dtype]
        return ACC_BYTES[self.dtype] if dtype == "acc" else _PLAIN_BYTES[dtype]

    def bytes_of(self, x: LoadFacts | Tile) -> int:
        """Bytes of a loaded or computed tile."""
        return self.count(x.axes) * self.item(x.dtype)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.warps * self.target.warp_size

    def fma(self, dot: DotFacts) -> bool:
        """Whether a dot runs on the fp32 lanes: IEEE fp32 has no matrix units, nor have some targets."""
        return self.target.matrix == "none" or (self.item(dot.dtype) > 2 and dot.precision == "ieee")

    def per_thread(self, dot: DotFacts) -> float:
        """Elements of a dot's result a thread holds."""
        return self.count(dot.m) * self.count(dot.n) / self.threads

    def wgmma(self, dot: DotFacts) -> bool:
        """Whether a dot runs on the asynchronous matrix units of a whole warp group.

        Those take 64 rows a group of four warps and read the second operand from shared memory; other
        dots (few rows, odd warps, IEEE fp32) are issued warp by warp.
        """
        if self.target.matrix not in ("wgmma", "tcgen05") or self.warps % 4:
            return False
        if self.fma(dot):
            return False
        return self.count(dot.m) >= 64


def tiling(f: KernelFacts, plan: KernelPlan, dtype: str, target: Target) -> Tiling:
    """``f`` with the numbers of ``plan``."""
    sides = dict(plan.sides)
    sizes = {axis: side(size, sides) for axis, size in f.sizes.items()}
    described = plan.loads == "descriptor"
    return Tiling(f, sizes, plan.num_warps, plan.num_stages, dtype, target, described, plan.max_registers)


def side(size: Expr, sides: Mapping[str, int]) -> int:
    """An axis' size with the plan's numbers put in."""
    if isinstance(size, Const):
        return int(size.value)
    if isinstance(size, Var):
        return sides[size.name]
    assert isinstance(size, Call)
    return int(OPS[size.op].python(*(side(a, sides) for a in size.args)))


@dataclass(frozen=True)
class Term:
    """A part of shared memory: ``copies`` (in words: ``each``) of a tile over ``axes``."""

    what: str
    kind: Literal["kept", "buffer", "scratch"]
    copies: int
    each: str
    axes: Axes
    item: int


def smem_terms(t: Tiling) -> list[Term]:
    """The shared memory Triton takes, part by part.

    Operands loaded before a loop stay (Q). In a loop every load that a dot depends on has a buffer for
    each stage where the dot is asynchronous, for each stage but one where it is not; without
    pipelining operands come one at a time. A computed operand (P) of the older units goes through
    scratch where the result is wider than tall, since the warps then share its rows; that of fp32
    lanes always does.
    """
    most = max((_buffers(t, loop) for loop in t.facts.loops), key=lambda b: terms_bytes(t, b), default=[])
    kept = [Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype)) for x in t.facts.body.loads if x.feeds_dot]
    if t.target.matrix == "mfma":  # operands move on to registers: Q is gone before the loop begins
        return max(kept, most + _scratch(t), key=lambda terms: terms_bytes(t, terms))
    if not t.target.async_copies:  # Q comes through registers, with a copy of its own
        return kept + [replace(x, kind="scratch") for x in kept] + most
    return kept + most + _scratch(t) + _barriers(t)


def terms_bytes(t: Tiling, terms: list[Term]) -> int:
    """Bytes of ``terms``."""
    return sum(x.copies * t.count(x.axes) * x.item for x in terms)


def smem_bytes(t: Tiling) -> int:
    """Bytes of shared memory a block takes."""
    return terms_bytes(t, smem_terms(t))


def _buffers(t: Tiling, loop: LoopFacts) -> list[Term]:
    loads = [x for x in loop.loads if x.leads_to_dot and x.axes]
    if not t.target.async_copies:
        loads = [x for x in loads if x.feeds_dot]
        copies, each = 1, ""
    elif t.stages <= 1:
        alone = [x for x in loads if x.feeds_dot]
        loads = [max(alone, key=t.bytes_of)] if alone else []
        copies, each = 1, "one at a time"
    elif any(t.wgmma(d) for d in loop.dots):
        copies, each = t.stages, "stages"
    else:
        copies, each = t.stages - 1, "stages - 1"
    return [Term(x.name, "buffer", copies, each, x.axes, t.item(x.dtype)) for x in loads]


def _barriers(t: Tiling) -> list[Term]:
    """Barriers of descriptor loads or of dots with a memory of their own: 32 to 1,024 bytes, as the most."""
    dots = [d for loop in t.facts.loops for d in loop.dots]
    asynchronous = t.target.matrix == "tcgen05" and any(t.wgmma(d) for d in dots)
    if asynchronous or (t.described and t.stages > 1):
        return [Term("barriers", "scratch", 1, "", (), BARRIER_BYTES)]
    return []


def _scratch(t: Tiling) -> list[Term]:
    dots = [*t.facts.body.dots, *(d for loop in t.facts.loops for d in loop.dots)]
    for d in dots:
        if d.a_loaded or t.wgmma(d):
            continue
        width = sum(t.count(n) for n in {o.n for o in dots if o.a == d.a})
        tile = Term(d.a, "scratch", 1, "", (*d.m, d.k), t.item(d.dtype))
        if t.fma(d):  # its rows are padded by an element against bank conflicts
            return [tile, Term(f"{d.a} padding", "scratch", 1, "", d.m, t.item(d.dtype))]
        if t.target.matrix == "mfma":  # 32 rows a wave
            shared = t.warps * 32 > t.count(d.m)
        else:
            shared = t.warps > 1 and width > t.count(d.m)
        if shared:
            return [tile]
    return []


def on_chip_bytes(t: Tiling) -> int:
    """The most bytes of tiles alive at once: M in the papers. One buffer each, no pipelining."""

    def peak(body: BodyFacts, outer: int) -> int:
        here = [outer + sum(t.bytes_of(x) for x in alive) for alive in body.live]
        kept = outer + sum(t.bytes_of(x) for x in body.loads if x.feeds_dot)
        return max([*here, *(peak(loop, kept) for loop in body.loops)], default=0)

    return peak(t.facts.body, 0)


def register_parts(t: Tiling) -> dict[str, float]:
    """Estimated 32-bit registers a thread in the worst loop, by what holds them."""
    best: dict[str, float] = {}
    for body in t.facts.loops or (t.facts.body,):
        words = max((sum(t.bytes_of(x) for x in alive) for alive in body.pressure), default=0) / 4
        tiles = words / t.threads
        # One 64-bit address for each 16 bytes a thread copies.
        by_address = [x for x in body.loads if len(x.axes) > 1 and not (t.described and x.reused)]
        addresses = sum(2 * t.bytes_of(x) / 16 / t.threads for x in by_address)
        operands = max((_fragments(t, d) for d in body.dots), default=0.0)
        parts = {"tiles": tiles, "addresses": addresses, "base": _base(t, body, tiles, addresses)}
        if operands:
            parts["operands"] = operands
        if sum(parts.values()) > sum(best.values()):
            best = parts
    return best


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
    if t.max_registers:
        less = FURTHER_DOT_REGISTERS * max(0, beyond - 1) + (0.0 if t.described else STATED_REGISTERS)
        return max(room, less)
    return max(room, min(wanted, in_flight + TIGHT_REGISTERS) if t.described else TIGHT_REGISTERS)


def registers(t: Tiling) -> float:
    """Estimated registers a thread would like; above the target's limit they spill."""
    return sum(register_parts(t).values())


def spilled(t: Tiling, wanted: float) -> int:
    """Bytes a thread spills when it would like ``wanted`` registers."""
    return max(0, round(4 * (wanted - t.register_limit)))


def block_limits(t: Tiling, smem: int, regs: int) -> dict[str, int]:
    """How many blocks one SM would hold if only this were scarce, for everything that is."""
    g = t.target
    rounded = -(-min(max(regs, 32), t.register_limit) // 8) * 8
    return {
        "shared memory": g.integer("smem_per_sm") // (smem + g.integer("smem_reserved_per_block"))
        if smem
        else 99,
        "registers": g.integer("registers_per_sm") // (rounded * t.threads),
        "threads": g.integer("threads_per_sm") // t.threads,
        "blocks": g.integer("blocks_per_sm"),
    }


def blocks_per_sm(t: Tiling, smem: int, regs: int) -> tuple[int, str]:
    """Blocks one SM holds at a time, and what limits them."""
    limits = block_limits(t, smem, regs)
    limit = min(limits, key=lambda name: limits[name])
    return limits[limit], limit
