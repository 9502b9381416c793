"""Requested bytes, FLOPs, exponentials and on-chip bytes of any ``Program``, by walking it.

    c = counts(lower_spec(spec, "flash2").program)
    c.exact.read("k"), c.exact.written("o")               # sympy, for all lengths
    c.exact.requested, c.exact.flops, c.exact.exponentials, c.exact.on_chip
    c.closed.requested, c.closed.assuming                 # where sides divide lengths: no sums
    c.at(Workload(1, 8, 8, 4096, 4096), {"BLOCK_M": 128, "BLOCK_N": 64}, "bf16").requested      # a number
    c.of_kernel(0)                                        # the same of one kernel, which has sides of its own

``at`` takes some milliseconds; sympy takes up to half a minute for the exact formulas of masks of many spans.
The symbols stand at ``symbolic_counts.Formulas``.

What the words mean:

- **Requested bytes** are the elements that a load's or store's guard lets through, times the size of an
  element, over all loops and the whole grid. That is what programs ask the L2 cache for, not what DRAM moves:
  a tile of K that two programs read counts twice. A ``Sum`` after the kernels reads its workspace once, and
  reads and writes each place that it adds to.
- **FLOPs** are those of the dots, two a product, on whole tiles: what lies past a length is multiplied too.
- **Exponentials** are ``exp`` and ``exp2``, and ``tanh`` and ``sigmoid``, which are computed with one each
  (``Op.exponentials``), on whole tiles; logarithms and divisions are not.
- **On-chip bytes** are those of the tiles alive at once in one program, the papers' M (``count_live``).

The time model (``cost``) has estimates of its own, quick enough for every candidate: ``l2_bytes`` and
``flops`` of whole tiles, loads without stores, passes averaged over sampled rows. They differ from these by
what lies past a length, by the stores, and by that sampling.

Where bounds or guards depend on data (``k < length[b]``), the formula holds that element as a function of
its index (``length(b)``), and ``at`` takes the tensors; without them each counts as Nk, the most that a
length can mean, or as true. Everything is exact, in integers; ``tests/plan/test_count.py`` compares it with
what the interpreter really takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Expr, reads
from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Kernel, Program, Tile
from flashgen.ir.workload import Workload

from .amount import Amount
from .number import totals
from .onchip import live_sets
from .walk import Walk, head_dims, sum_amounts

if TYPE_CHECKING:
    import torch

    from .symbolic_counts import Formulas


@dataclass(frozen=True)
class Numbers:
    """Counts at one workload and one choice of sides: bytes by tensor, operations, bytes."""

    read: Mapping[str, int]
    written: Mapping[str, int]
    flops: int
    exponentials: int
    on_chip: int

    @property
    def requested(self) -> int:
        """Bytes read and written."""
        return sum(self.read.values()) + sum(self.written.values())


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of ``kernels`` of ``program`` together (``of_kernel`` picks one), by their amounts.

    ``loose`` names accesses whose guard looks at computed floats: all their elements count.
    """

    program: Program
    kernels: tuple[Kernel, ...]
    amounts: tuple[Amount, ...]
    loose: frozenset[str]

    @cached_property
    def exact(self) -> Formulas:
        """The counts as sympy expressions, for all lengths and sides; sums over tiles stay sums."""
        from .symbolic_counts import Formulas

        return Formulas(self)

    @cached_property
    def closed(self) -> Formulas:
        """The same without sums, where tile sides divide lengths (``assuming`` says which and what else);
        ``exact`` where no closed form is found."""
        from .symbolic_counts import closed_formulas

        return closed_formulas(self)

    def at(
        self,
        w: Workload,
        sides: Mapping[str, int],
        dtype: str = "bf16",
        items: Mapping[str, int] | None = None,
        inputs: Mapping[str, torch.Tensor] | None = None,
    ) -> Numbers:
        """The numbers for lengths ``w``, ``sides`` (BLOCK_M, BLOCK_N) and q's ``dtype``.

        ``items`` gives bytes of an element for tensors whose dtype is the caller's (float inputs in 16 bits,
        int64 lengths); ``inputs`` the tensors that bounds and guards read, on the CPU. Raises ``PlanError``
        (``count_number.TooManyTiles``) where tiles without a closed form are too many to add up.
        """
        names = {**w.names(), **sides}
        found = totals(self.amounts, names, inputs)
        read: Counter[str] = Counter()
        written: Counter[str] = Counter()
        for (kind, tensor), n in found.items():
            if tensor:
                size = (items or {}).get(tensor) or item_bytes(self.program.tensor(tensor).dtype, dtype)
                (read if kind == "read" else written)[tensor] += n * size
        return Numbers(
            dict(read), dict(written), found["flops", ""], found["exponentials", ""],
            self.on_chip_at(sides, dtype),
        )  # fmt: skip

    def on_chip_at(self, sides: Mapping[str, int], dtype: str = "bf16") -> int:
        """On-chip bytes of the largest kernel."""
        most = 0
        for kernel in self.kernels:
            sizes = {a.name: int(evaluate_python(a.size, sides)) for a in kernel.axes}
            for alive in live_sets(kernel):
                most = max(most, sum(_bytes(t, sizes, dtype) for t in alive))
        return most

    @property
    def data(self) -> frozenset[str]:
        """The inputs whose elements decide how much is read or computed."""
        found = {r.name for a in self.amounts for e in _exprs(a) for r in reads(e)}
        return frozenset(found)

    def of_kernel(self, number: int) -> Counts:
        """The counts of kernel ``number`` alone, which has its own sides in a plan."""
        return _of_kernel(self.program, number)


def _exprs(a: Amount) -> list[Expr]:
    ends = [e for s in a.spans for e in (*s.lows, *s.highs)]
    return [*ends, *a.tests, *(e for o in a.over for e in (o.domain.lo, o.domain.hi))]


def _bytes(t: Tile, sizes: Mapping[str, int], dtype: str) -> int:
    n = item_bytes(t.dtype, dtype)
    for a in t.axes:
        n *= sizes[a]
    return n


@lru_cache(maxsize=64)
def counts(program: Program) -> Counts:
    """The counts of ``program``: all kernels, and the sums after them."""
    parts = [_of_kernel(program, i) for i in range(len(program.kernels))]
    amounts = [a for p in parts for a in p.amounts]
    amounts += [a for s in program.sums for a in sum_amounts(program, s)]
    loose = frozenset(x for p in parts for x in p.loose)
    return Counts(program, program.kernels, tuple(amounts), loose)


@lru_cache(maxsize=256)
def _of_kernel(program: Program, number: int) -> Counts:
    kernel = program.kernels[number]
    walk = Walk(program, kernel, head_dims(program))
    return Counts(program, (kernel,), tuple(walk.run()), frozenset(walk.unknown))
