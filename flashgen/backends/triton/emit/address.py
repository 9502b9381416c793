"""Where a tile lies in memory: a 64-bit scalar base, 32-bit offsets inside the tile, and a mask.

    base    q_ptr + b.to(tl.int64) * stride_q_b + ... + q_lo.to(tl.int64) * stride_q_n
    offsets q_range[:, None] * stride_q_n + d0[None, :]

The start of a ``Coords`` tile goes into the base, so offsets stay small however long the sequence. Only
gathers, whose element numbers are data, take 64-bit offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Const, Expr, Var, integer, variables
from flashgen.ir.program import Tensor, Tile

from .facts import literal
from .ops import PRODUCT
from .text import Printer, subscript

#: A literal extent up to this is gathered with 32-bit offsets (its strides are checked at launch).
SMALL = 1 << 16
#: How elements of an input become what their tile holds, whatever its dtype, by the tile's dtype.
CASTS = {"acc": ".to(tl.float32)", "fp32": ".to(tl.float32)", "int32": ".to(tl.int32)"}
_LETTERS = {"B": "b", "Hq": "h", "Hkv": "h"}


def stride_names(t: Tensor) -> tuple[str | None, ...]:
    """The stride parameter of each dim; None where it is 1 (the last one, except of inputs)."""
    lengths = {d.name for d in t.dims if isinstance(d, Var)}
    both = {"Nq", "Nk"} <= lengths
    letters: list[str] = []
    for i, d in enumerate(t.dims):
        name = d.name if isinstance(d, Var) else ""
        letter = {"Nq": "q" if both else "n", "Nk": "k" if both else "n"}.get(name, _LETTERS.get(name))
        letters.append(letter if letter and letter not in letters else str(i))
    names: list[str | None] = [f"stride_{t.name}_{x}" for x in letters]
    if t.role != "input" and names:
        names[-1] = None
    return tuple(names)


@dataclass(frozen=True)
class Address:
    """The parts of one access: ``base`` terms fixed while ``moving`` ones change in the loop around it."""

    tensor: str
    base: tuple[str, ...]
    moving: tuple[str, ...]
    offsets: str
    guard: str | None
    covered: frozenset[str]
    fixed_offsets: bool

    @property
    def fixed(self) -> str:
        """The part of the base that does not change in the loop around."""
        return " + ".join((f"{self.tensor}_ptr", *self.base))


class Addresses:
    """Works out the addresses of accesses to ``tensors``; remembers how far each stride reaches."""

    def __init__(self, tensors: Mapping[str, Tensor], sides: Mapping[str, int]) -> None:
        self.tensors = tensors
        self.sides = sides
        self.reach: dict[str, int] = {}

    def of(
        self,
        src: str,
        index: tuple[Expr, ...],
        axes: tuple[str, ...],
        guard: Expr | None,
        out: Printer,
        sizes: Mapping[str, Expr],
        changing: frozenset[str] = frozenset(),
    ) -> Address:
        """The address of ``src[index]`` as a tile over ``axes``; ``changing`` names vary in the loop."""
        facts, tensor = out.facts, self.tensors[src]
        fixed: list[str] = []
        moving: list[str] = []
        offsets: list[str] = []
        covered: set[str] = set()
        depends: set[str] = set()
        for e, extent, stride in zip(index, tensor.dims, stride_names(tensor), strict=True):
            start = facts.starts.get(e.name) if isinstance(e, Var) else None
            if start is not None and isinstance(e, Var):
                (axis,) = facts.tiles[e.name].axes
                covered.add(axis)
                local = e.name if isinstance(start, Const) else f"{axis}_range"
                if not isinstance(start, Const):
                    term = _scaled(_wide(start, out), stride)
                    (moving if variables(start) & changing else fixed).append(term)
                offsets.append(_scaled(subscript(local, (axis,), axes), stride))
                size = literal(sizes[axis], self.sides) or 1
                first = al.constant(start) or 0
                self._reaches(stride, first + size - 1)
                continue
            if facts.is_tile(e):
                covered |= facts.axes(e)
                depends |= variables(e)
                offsets.append(self._gather(e, extent, stride, axes, out))
            elif e != integer(0):
                (moving if variables(e) & changing else fixed).append(_scaled(_wide(e, out), stride))
        return Address(
            src,
            tuple(fixed),
            tuple(moving),
            " + ".join(offsets),
            None if guard is None else out.text(guard, axes),
            frozenset(covered),
            not depends & changing,
        )

    def _gather(self, e: Expr, extent: Expr, stride: str | None, axes: tuple[str, ...], out: Printer) -> str:
        n = al.constant(extent)
        if n is not None and n <= SMALL:
            self._reaches(stride, n - 1)
            return _scaled(out.text(e, axes, PRODUCT - 1 if stride else 0), stride)
        text = out.text(e, axes)
        simple = isinstance(e, Var)
        return _scaled(f"{text}.to(tl.int64)" if simple else f"({text}).to(tl.int64)", stride)

    def _reaches(self, stride: str | None, element: int) -> None:
        if stride:
            self.reach[stride] = max(self.reach.get(stride, 0), element)


def _scaled(text: str, stride: str | None) -> str:
    return f"{text} * {stride}" if stride else text


def _wide(e: Expr, out: Printer) -> str:
    """A scalar as a 64-bit integer. In the interpreter a loop's variable is a plain int."""
    if isinstance(e, Var) and e.name not in out.facts.in_loop:
        return f"{e.name}.to(tl.int64)"
    return f"tl.cast({out.text(e)}, tl.int64)"


def storage(tile: Tile) -> str:
    """The Triton dtype of an accumulator tile."""
    return {"acc": "tl.float32", "fp32": "tl.float32", "int": "tl.int32", "bool": "tl.int1"}.get(
        tile.dtype, f"tl.{tile.dtype}"
    )
