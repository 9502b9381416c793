"""Gradients of learned inputs, by how a read's index varies over the pairs.

A read ``x[i]`` of the score gets dS * dscore/dx from every pair, summed over the pairs that read the same
element. Where the sum is taken depends on what the index varies along:

======== ====================================== ================================================
row      the row or nothing: ``slopes[h]``      the kernel over queries sums each row
column   the key: ``shift[b, k]``               the kernel over keys sums each column, by head
dense    both, plainly: ``bias[h, q, k]``       a kernel over the bias sums over what it lacks
table    both, computed: ``w[h, bucket(k - q)]`` a kernel sums each row by bucket
======== ====================================== ================================================

Everything is summed in a fixed order. What is left over (rows of a head, heads of a batch) is a ``Sum``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flashgen.expr import algebra as al
from flashgen.expr.derive import ONE, ZERO, NoDerivative, derivative
from flashgen.expr.nodes import Call, Expr, Read, Var, integer, reads, real, variables
from flashgen.expr.summed import unsummable
from flashgen.expr.terms import call, index, tile
from flashgen.ir.attention import AttentionIR, Input
from flashgen.ir.program import Loop, Map, Range, Reduce, Stmt, Store, Sum, Tensor, Tile
from flashgen.rows import RowFunction

from .axes import LENGTHS
from .probability import ScoreGradient
from .values import Values

Kind = Literal["row", "column", "dense", "table"]


@dataclass(frozen=True)
class Learned:
    """One read of a learned input: where its gradient is summed, and what becomes of the sums.

    ``space`` is the tensor the kernel writes, over ``along``; ``total`` takes it to the input's gradient
    (None: the kernel writes that itself).
    """

    read: Read
    kind: Kind
    space: Tensor | None
    along: tuple[str, ...]
    total: Sum | None
    bucket: Expr | None = None  # the computed index of a table
    entries: int = 0

    @property
    def writes(self) -> str:
        """The name of the tensor the kernel writes."""
        return f"d{self.read.name}" if self.space is None else self.space.name


def learned(ir: AttentionIR) -> list[Learned]:
    """Every read of a learned input. Raises ``NoDerivative`` for a read that cannot be summed."""
    everywhere = [*reads(ir.score), *(reads(ir.sink) if ir.sink is not None else [])]
    wanted = [r for r in dict.fromkeys(everywhere) if ir.input(r.name).grad]
    out: list[Learned] = []
    for r in wanted:
        alone = sum(x.name == r.name for x in wanted) == 1
        out.append(_learned(r, ir.input(r.name), alone, sum(g.read.name == r.name for g in out)))
    return out


def _learned(r: Read, declared: Input, alone: bool, number: int) -> Learned:
    problem = unsummable(r, [al.constant(d) for d in declared.dims])
    if problem is not None:
        raise NoDerivative(problem)
    varies = variables(r) & {"q", "k"}
    suffix = str(number) if number else ""
    if varies <= {"q"} or varies == {"k"}:
        axis, kind = ("k", "column") if varies == {"k"} else ("q", "row")
        along = ("b", "h", axis)
        space = _space(f"d{r.name}_{kind}s{suffix}", along)
        return Learned(r, "column" if axis == "k" else "row", space, along, _total(r, space, along, r.index))
    computed = [i for i, e in enumerate(r.index) if variables(e) & {"q", "k"} and not isinstance(e, Var)]
    if not computed and len({e.name for e in r.index if isinstance(e, Var)} & {"q", "k"}) == 2:
        return _dense(r, alone, suffix)
    size = al.constant(declared.dims[computed[0]])
    assert size is not None
    entries = ("b", "h", "q", "entry")
    space = _space(f"d{r.name}_table{suffix}", entries, size)
    at = tuple(index("entry") if i == computed[0] else e for i, e in enumerate(r.index))
    return Learned(r, "table", space, entries, _total(r, space, entries, at), r.index[computed[0]], size)


def _dense(r: Read, alone: bool, suffix: str) -> Learned:
    names = [e.name for e in r.index if isinstance(e, Var)]
    direct = alone and names == [n for n in LENGTHS if n in names] and len(names) == len(r.index)
    if direct:
        return Learned(r, "dense", None, tuple(names), None)
    found = {v for e in r.index for v in variables(e)}
    lead = [n for n in ("b", "h" if "h" in found else "hkv") if n in found]
    along = (*lead, "q", "k")
    space = _space(f"d{r.name}_dense{suffix}", along)
    return Learned(r, "dense", space, along, _total(r, space, along, r.index))


def _space(name: str, along: tuple[str, ...], entries: int = 0) -> Tensor:
    dims = tuple(integer(entries) if a == "entry" else LENGTHS[a] for a in along)
    return Tensor(name, dims, "acc", "workspace")


def _total(r: Read, space: Tensor, along: tuple[str, ...], at: tuple[Expr, ...]) -> Sum:
    return Sum(f"d{r.name}", space.name, along, at)


@dataclass(frozen=True)
class LineSums:
    """Sums along the inner axis, one number per row (or column): statements before, in and after the loop."""

    start: tuple[Stmt, ...]
    carried: tuple[str, ...]
    step: tuple[Stmt, ...]
    finish: tuple[Stmt, ...]


def line_sums(
    values: Values,
    gradient: ScoreGradient,
    found: list[Learned],
    axes: tuple[str, str],
    inside: Expr,
) -> LineSums:
    """The sums of ``found``, whose derivatives ``gradient`` has in the same order."""
    outer, inner = axes
    start: list[Stmt] = []
    step: list[Stmt] = []
    finish: list[Stmt] = []
    carried: list[str] = []
    for g, by_read in zip(found, gradient.by_read, strict=True):
        total = Tile(g.writes, (outer,), "acc")
        start.append(Map(total, real(0.0)))
        if by_read != ZERO:
            carried.append(total.name)
            part, value = Tile(f"{g.writes}_part", (outer,), "acc"), gradient.times(by_read)
            src = Tile("ds", axes, "acc")
            if value != tile("ds"):
                src = Tile(f"{g.writes}_ds", axes, "acc")
                step.append(Map(src, value, f"dS by {g.read.name}"))
            step += [
                Reduce(part, src, inner, "sum"),
                Map(total, call("add", tile(total.name), tile(part.name)), f"what {g.read.name} gets"),
            ]
        if outer == "q":
            finish += _of_sink(values, gradient.row, g, total)
        at = (index("b"), index("h"), index(outer))
        finish.append(Store(g.writes, at, total, inside))
    return LineSums(tuple(start), tuple(carried), tuple(step), tuple(finish))


def _of_sink(values: Values, row: RowFunction, g: Learned, total: Tile) -> list[Stmt]:
    """What a read gets through the sink."""
    if row.ir.sink is None:
        return []
    slope = derivative(row.ir.sink, g.read)
    if slope == ZERO:
        return []
    lost, note = row.through_sink(values)
    if slope != ONE:
        lost = call("mul", lost, values.hoist(values.load_reads(slope)))
    return [Map(total, call("sub", tile(total.name), lost), note)]


def bucket_sums(g: Learned, values: Values, gradient: ScoreGradient) -> list[Stmt]:
    """Each row's dS by bucket: every entry of the table in turn takes what its bucket holds."""
    assert g.bucket is not None
    (by_read,) = gradient.by_read
    bucket = Tile("bucket", ("q", "k"), "int32")
    weighted, picked = Tile("weighted", ("q", "k"), "acc"), Tile("picked", ("q", "k"), "acc")
    row, table = Tile("in_bucket", ("q",), "acc"), Tile("table", ("q", "entry"), "acc")
    here = Call("eq", (index("bucket"), index("n")), "bool")
    mine = Call("eq", (index("entry"), index("n")), "bool")
    inner: tuple[Stmt, ...] = (
        Map(picked, call("where", here, tile("weighted"), real(0.0))),
        Reduce(row, picked, "k", "sum"),
        Map(table, call("add", tile("table"), call("where", mine, tile("in_bucket"), real(0.0)))),
    )
    return [
        Map(bucket, values.load_reads(g.bucket), "the entry that each pair reads"),
        Map(weighted, gradient.times(by_read)),
        Loop("n", (Range(integer(0), integer(g.entries)),), ("table",), inner, note="entry by entry"),
    ]
