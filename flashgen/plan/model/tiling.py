"""Tiles, registers and occupancy of one kernel with numbers for its sides.

Three sizes, three names: ``on_chip_bytes`` is liveness of all tiles (the papers' M). What a compiler will
take of shared memory and of registers its backend predicts (``plan.backend.Sizes``), until the compiler says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Expr, Var
from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Tile
from flashgen.plan.late_sums import as_printed
from flashgen.plan.plan import KernelPlan
from flashgen.targets.target import Target

from .facts import Axes, BodyFacts, DotFacts, KernelFacts, LoadFacts


@dataclass(frozen=True)
class Tiling:
    """A kernel's facts with the numbers of a plan: ``sizes`` of its axes, q's dtype and the target."""

    facts: KernelFacts
    sizes: Mapping[str, int]
    plan: KernelPlan
    dtype: str
    target: Target

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.plan.num_warps

    @property
    def stages(self) -> int:
        """Stages of the loops' loads."""
        return self.plan.num_stages

    @property
    def described(self) -> bool:
        """Whether loops read boxes by tensor descriptors."""
        return self.plan.loads == "descriptor"

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
        return self.plan.max_registers or self.target.integer("registers_per_thread")

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
        """Whether a tensor descriptor brings the tile."""
        return self.described and x.streamed

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
    return Tiling(as_printed(f, plan), sizes, plan, dtype, target)


def side(size: Expr, sides: Mapping[str, int]) -> int:
    """An axis' size with the plan's numbers put in."""
    return int(evaluate_python(size, sides))


def on_chip_bytes(t: Tiling) -> int:
    """The most bytes of tiles alive at once: M in the papers (``count_live``)."""
    return t.facts.counts.on_chip_at(t.sides, t.dtype)


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
