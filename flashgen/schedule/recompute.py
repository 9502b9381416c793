"""One tile of the backward pass: S and P again, dP and dS, from rows of q, do and keys of k, v.

Every backward kernel visits tiles; they differ in which axis a program owns (its rows stay on chip) and in
what they sum up. ``Tiles`` holds what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from flashgen.expr import algebra as al
from flashgen.expr.derive import ONE
from flashgen.expr.nodes import Call, Expr, Read, integer, real
from flashgen.expr.terms import call, index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Axis, Coords, Dot, Load, Map, Scalar, Stmt, Store, Tile

from . import dropout
from .axes import ROWS_INSIDE
from .bounds import KEYS, Bounds, Side, mask_bounds
from .flash2 import columns, columns_inside, precision
from .loops import visits
from .pieces import Piece, pieces
from .probability import ScoreGradient, score_gradient
from .values import Values, needed_by

#: The head that a tensor's rows belong to: grouped query heads share one of k and v.
HEAD = {"q": "h", "do": "h", "o": "h", "dq": "h", "k": "hkv", "v": "hkv", "dk": "hkv", "dv": "hkv"}
#: The tensors that the tiles of an axis are read from: first what S needs, then what dP needs.
OF_AXIS = {"q": ("q", "do"), "k": ("k", "v")}
#: How notes write a gradient, and what they say of a matrix that a dot takes.
WRITTEN = {"dq": "dQ", "dk": "dK", "dv": "dV"}
ROUNDED = "in the input precision, for the matrix units"


def rows_of(tensor: str, p: Piece, guard: Expr | None = None) -> Load:
    """One piece of a tile of rows, axes (rows, piece)."""
    axis = "k" if HEAD[tensor] == "hkv" else "q"
    dst = Tile(f"{tensor}{p.name[1:]}", (axis, p.name), "elem")
    at = (index("b"), index(HEAD[tensor]), index(axis), index(p.name))
    return Load(dst, tensor, at, columns_inside(p, *([] if guard is None else [guard])))


@dataclass(frozen=True)
class Tiles:
    """The tiles that a kernel visits: ``side`` is the axis its loop runs over and the one it owns."""

    ir: AttentionIR
    side: Side
    values: Values
    bounds: Bounds
    limits: tuple[Stmt, ...]  # what ``bounds.inside`` alone rests on
    visible: Expr
    seen: Expr  # of keys that are visited, those that are summed up
    gradient: ScoreGradient
    d_pieces: tuple[Piece, ...]
    e_pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, ir: AttentionIR, side: Side, reads: Sequence[Read] = ()) -> Self:
        """The tiles of a kernel that needs the gradients by ``reads`` too."""
        values = Values(ir, outer=side.given, inner=side.over)
        bounds = mask_bounds(None if ir.mask is None else values.load_uniform(ir.mask), side)
        limits = tuple(needed_by(bounds.inside, [*values.prologue, *bounds.scalars]))
        visible, seen = (values.hoist(values.load_reads(e)) for e in (bounds.visible, bounds.seen))
        gradient = score_gradient(ir, values, reads)
        cut = pieces(ir.d_qk, "d"), pieces(ir.d_v, "e")
        return cls(ir, side, values, bounds, limits, visible, seen, gradient, *cut)

    @property
    def axes(self) -> tuple[str, str]:
        """The axes of a tile of scores: the owned one, then the one the loop runs over."""
        return self.side.given, self.side.over

    @property
    def kernel_axes(self) -> tuple[Axis, ...]:
        """The axes of the kernel, the owned one first."""
        sizes = {"q": index("BLOCK_M"), "k": index("BLOCK_N")}
        columns = (Axis(p.name, integer(p.size)) for p in self.d_pieces + self.e_pieces)
        return (*(Axis(a, sizes[a]) for a in self.axes), *columns)

    def columns(self) -> list[Stmt]:
        """The column numbers of every piece."""
        return columns(self.d_pieces, self.e_pieces)

    def loops(self, carried: tuple[str, ...], step: Callable[[bool], list[Stmt]]) -> list[Stmt]:
        """A loop over the full tiles, and one over the partial ones."""
        rows = ROWS_INSIDE if self.gradient.row.weights_past_the_end else None
        return visits(self.bounds, self.side, carried, step, rows=rows)

    def given(self, guard: Expr, which: int | None = None) -> list[Stmt]:
        """The rows a program owns: q and do, or k and v; or the first or second of them."""
        names = OF_AXIS[self.side.given]
        chosen = names if which is None else names[which : which + 1]
        return [load for n in chosen for load in self.loads(n, guard)]

    def weights(self, partial: bool, also: Sequence[Expr] = ()) -> list[Stmt]:
        """Loads of the visited rows that S needs, and from them ``s`` and ``p``; ``also`` are further values
        that the kernel needs of a tile."""
        guard, visible = self._hidden(partial)
        seen = self.seen if partial else None
        note = "K Q^T, S transposed" if self.side is not KEYS else "S = Q K^T"
        return [
            *([] if seen is None else self.values.in_loop(seen, bounds=guard)),
            *self.loads(OF_AXIS[self.side.over][0], seen),
            *self.product("s", "q", "k", note),
            *self.gradient.probability(self.axes, visible, guard, also, seen),
        ]

    def scores(self, partial: bool, also: Sequence[Expr] = ()) -> list[Stmt]:
        """All of ``weights``, and then ``dp`` and ``ds``."""
        guard, visible = self._hidden(partial)
        note = "V dO^T, dP transposed" if self.side is not KEYS else "dP = dO V^T"
        return [
            *self.weights(partial, also),
            *self.second(partial),
            *self.product("dp", "do", "v", note),
            *self.gradient.of_scores(self.axes, visible, guard),
        ]

    def second(self, partial: bool) -> list[Stmt]:
        """Loads of the visited rows that S does not need: do, or v."""
        return self.loads(OF_AXIS[self.side.over][1], self._hidden(partial)[0])

    def _hidden(self, partial: bool) -> tuple[Expr | None, Expr | None]:
        return (self.bounds.inside, self.visible) if partial else (None, None)

    def rounded(self) -> Map:
        """The gradient of the dot in the input precision."""
        dst = Tile("ds_elem", self.axes, "elem")
        by_dot = self.gradient.times(self.gradient.slope)
        chain = "" if self.gradient.slope == ONE else "dS * d score / d s, "
        return Map(dst, by_dot, f"{chain}{ROUNDED}")

    def kept(self) -> Map:
        """The weights that dropout leaves, in the input precision."""
        dst = Tile("p_elem", self.axes, "elem")
        return Map(dst, dropout.kept(self.ir, tile("p")), f"Z * P, {ROUNDED}" if self.ir.dropout else ROUNDED)

    def accumulated(self, what: str, a: Tile, tensor: str, note: str) -> list[Stmt]:
        """``what = what + a tensor``, piece by piece, contracted over the axis the loop runs along."""
        out: list[Stmt] = []
        for p in self._cut(tensor):
            dst, b = self._accumulator(what, p), rows_of(tensor, p).dst
            out.append(Dot(dst, a, b, self.side.over, tile(dst.name), precision(self.ir), note))
        return out

    def zeros(self, what: str) -> list[Stmt]:
        """The accumulators of ``what`` (dq, dk, dv)."""
        return [Map(self._accumulator(what, p), real(0.0)) for p in self._cut(what)]

    def names(self, what: str) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._accumulator(what, p).name for p in self._cut(what))

    def stored(self, what: str, guard: Expr, factor: float = 1.0) -> list[Stmt]:
        """Rounds and stores the accumulators of ``what``, times ``factor``."""
        out: list[Stmt] = []
        for p in self._cut(what):
            total = self._accumulator(what, p)
            final = Tile(f"{total.name}_elem", total.axes, "elem")
            value = tile(total.name) if factor == 1.0 else call("mul", tile(total.name), real(factor))
            at = (index("b"), index(HEAD[what]), index(total.axes[0]), index(p.name))
            note = "" if factor == 1.0 else f"{WRITTEN[what]} = scale * {WRITTEN[what]}"
            out += [Map(final, value, note), Store(what, at, final, columns_inside(p, guard))]
        return out

    def _accumulator(self, what: str, p: Piece) -> Tile:
        return Tile(f"{what}{p.name[1:]}", (self.side.given, p.name), "acc")

    def _cut(self, tensor: str) -> tuple[Piece, ...]:
        return self.d_pieces if tensor in ("q", "k", "dq", "dk") else self.e_pieces

    def loads(self, tensor: str, guard: Expr | None) -> list[Stmt]:
        """The rows of ``tensor`` in its tile, piece by piece."""
        return [rows_of(tensor, p, guard) for p in self._cut(tensor)]

    def product(self, what: str, rows: str, keys: str, note: str) -> list[Stmt]:
        """``what = rows keys^T`` over the pieces, transposed where the keys are owned."""
        return rows_times_keys(self.ir, Tile(what, self.axes, "acc"), rows, keys, self._cut(rows), note)


def rows_times_keys(
    ir: AttentionIR, dst: Tile, rows: str, keys: str, cut: tuple[Piece, ...], note: str
) -> list[Stmt]:
    """``dst = rows keys^T``, or its transpose, whichever ``dst`` is; the short dot first."""
    out: list[Stmt] = []
    for i, p in enumerate(reversed(cut)):
        a, b = rows_of(rows, p).dst, rows_of(keys, p).dst
        if dst.axes[0] == "k":
            a, b = b, a
        acc = tile(dst.name) if i else None
        out.append(Dot(dst, a, b, p.name, acc, precision(ir), "" if i else note))
    return out


def owned_keys() -> list[Stmt]:
    """The first and last key of a program's tile."""
    lo, block, length = index("k_lo"), index("BLOCK_N"), index("Nk")
    end = Call("min", (al.add(lo, block), length), "int")
    return [
        Scalar("k_lo", al.mul(index("k_tile"), block)),
        Scalar("k_hi", al.sub(end, integer(1)), "the last key of this tile"),
        Coords(Tile("k", ("k",), "int32"), lo),
    ]
