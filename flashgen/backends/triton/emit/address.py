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
from flashgen.expr.nodes import Call, Const, Expr, Var, integer, variables
from flashgen.ir.program import Tensor, Tile

from .arithmetic import Arithmetic
from .facts import literal
from .nodes import Dtype

#: A literal extent up to this is gathered with 32-bit offsets (its strides are checked at launch).
SMALL = 1 << 16
#: What elements of an input become, whatever their dtype, by the dtype of their tile.
CASTS: dict[str, Dtype] = {"acc": "tl.float32", "fp32": "tl.float32", "int32": "tl.int32"}
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
    """The parts of one access, lowered: ``base`` terms are fixed while ``moving`` ones change in the loop
    around it; ``offsets`` are those inside the tile."""

    base: tuple[Expr, ...]
    moving: tuple[Expr, ...]
    offsets: tuple[Expr, ...]
    guard: Expr | None
    covered: frozenset[str]
    fixed_offsets: bool


def total(terms: tuple[Expr, ...]) -> Expr:
    """The sum of ``terms`` in their order."""
    out = terms[0]
    for t in terms[1:]:
        out = Call("add", (out, t), "int")
    return out


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
        guard: Expr | None,
        low: Arithmetic,
        sizes: Mapping[str, Expr],
        changing: frozenset[str] = frozenset(),
    ) -> Address:
        """The address of ``src[index]``; the names ``changing`` vary in the loop around it."""
        facts, tensor = low.facts, self.tensors[src]
        fixed: list[Expr] = [Var(f"{src}_ptr", "int")]
        moving: list[Expr] = []
        offsets: list[Expr] = []
        covered: set[str] = set()
        depends: set[str] = set()
        for e, extent, stride in zip(index, tensor.dims, stride_names(tensor), strict=True):
            start = facts.starts.get(e.name) if isinstance(e, Var) else None
            if start is not None and isinstance(e, Var):
                (axis,) = facts.tiles[e.name].axes
                covered.add(axis)
                if not isinstance(start, Const):
                    term = _scaled(_wide(start, low), stride)
                    (moving if variables(start) & changing else fixed).append(term)
                local = e if isinstance(start, Const) else Var(f"{axis}_range", "int")
                offsets.append(_scaled(local, stride))
                size = literal(sizes[axis], self.sides) or 1
                first = al.constant(start) or 0
                self._reaches(stride, first + size - 1)
                continue
            if facts.is_tile(e):
                covered |= facts.axes(e)
                depends |= variables(e)
                offsets.append(self._gather(e, extent, stride, low))
            elif e != integer(0):
                (moving if variables(e) & changing else fixed).append(_scaled(_wide(e, low), stride))
        inside = None if guard is None else low.lowered(guard)
        terms = tuple(fixed), tuple(moving), tuple(offsets)
        return Address(*terms, inside, frozenset(covered), not depends & changing)

    def _gather(self, e: Expr, extent: Expr, stride: str | None, low: Arithmetic) -> Expr:
        n, at = al.constant(extent), low.lowered(e)
        if n is not None and n <= SMALL:
            self._reaches(stride, n - 1)
            return _scaled(at, stride)
        return _scaled(Call("wide_value", (at,), "int"), stride)

    def _reaches(self, stride: str | None, element: int) -> None:
        if stride:
            self.reach[stride] = max(self.reach.get(stride, 0), element)


def _scaled(e: Expr, stride: str | None) -> Expr:
    return Call("mul", (e, Var(stride, "int")), "int") if stride else e


def _wide(e: Expr, low: Arithmetic) -> Expr:
    """A scalar as a 64-bit integer. In the interpreter a loop's variable is a plain int."""
    value = isinstance(e, Var) and e.name not in low.facts.in_loop
    return Call("wide_value" if value else "wide", (e if value else low.lowered(e),), "int")


def storage(tile: Tile) -> str:
    """The Triton dtype of an accumulator tile."""
    return {"acc": "tl.float32", "fp32": "tl.float32", "int": "tl.int32", "bool": "tl.int1"}.get(
        tile.dtype, f"tl.{tile.dtype}"
    )
