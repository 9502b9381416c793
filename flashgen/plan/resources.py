"""Tiles, registers and occupancy of one kernel with numbers for its sides.

Three sizes, three names: ``on_chip_bytes`` is liveness of all tiles (the papers' M); ``smem.smem_bytes`` is
what Triton will take of shared memory; registers are an estimate, replaced by the compiler's number when
a plan is confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Expr, Var
from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Tile
from flashgen.plan.model.facts import Axes, BodyFacts, DotFacts, KernelFacts, LoadFacts
from flashgen.targets.target import Target

from .late_sums import as_printed
from .plan import KernelPlan, Order

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


@dataclass(frozen=True)
class Tiling:
    """A kernel's facts with numbers: ``sizes`` of its axes, warps, stages, dtype and target."""

    facts: KernelFacts
    sizes: Mapping[str, int]
    warps: int
    stages: int
    dtype: str
    target: Target
    order: Order
    described: bool = False  # loops read K and V by tensor descriptors
    max_registers: int = 0  # stated to the compiler; 0 is the target's limit

    def stored_bytes(self, body: BodyFacts) -> int:
        """Bytes that one pass through ``body`` stores."""
        return sum(self.count(axes) * self.item(dtype) for axes, dtype in body.stores)

    @property
    def sides(self) -> dict[str, int]:
        """The plan's sides by name."""
        return {size.name: self.sizes[a] for a, size in self.facts.sizes.items() if isinstance(size, Var)}

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
        return item_bytes(dtype, self.dtype)

    def bytes_of(self, x: LoadFacts | Tile) -> int:
        """Bytes of a loaded or computed tile."""
        return self.count(x.axes) * self.item(x.dtype)

    def by_descriptor(self, x: LoadFacts) -> bool:
        """Whether a tensor descriptor brings the tile: those of K and V (or Q and dO), no other input."""
        return self.described and x.reused and len(x.axes) > 1

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

    def flops(self, dot: DotFacts) -> int:
        """FLOPs of one dot."""
        return 2 * self.count(dot.m) * self.count(dot.n) * self.sizes[dot.k]

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
    return Tiling(
        as_printed(f, plan),
        sizes,
        plan.num_warps,
        plan.num_stages,
        dtype,
        target,
        plan.order,
        described,
        plan.max_registers,
    )


def side(size: Expr, sides: Mapping[str, int]) -> int:
    """An axis' size with the plan's numbers put in."""
    return int(evaluate_python(size, sides))


def on_chip_bytes(t: Tiling) -> int:
    """The most bytes of tiles alive at once: M in the papers (``count_live``)."""
    return t.facts.counts.on_chip_at(t.sides, t.dtype)


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
