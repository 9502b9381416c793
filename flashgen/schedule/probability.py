"""P of a tile again, and the gradient of its scores: the part that every backward kernel shares.

The row function says what P is of a score and dS of P and dP; dS times score' is the gradient of the dot.
Hidden pairs get P = dS = 0 by selection, whatever stands in their keys. Parts that the score and its
derivative share (a tanh) are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flashgen.expr.derive import ONE, derivative
from flashgen.expr.nodes import Call, Const, Expr, Read, Var, real, substitute, walk
from flashgen.expr.ops import OPS
from flashgen.expr.share import operators, share
from flashgen.expr.terms import call, scaled, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.names import invented
from flashgen.ir.program import Map, Stmt, Tile
from flashgen.rows import RowFunction, row_function
from flashgen.rows.function import Logit

from . import dropout
from .values import TILE_DTYPE, Values

#: An operator of so many issue slots, or of the special-function unit, is worth a name for its result.
COSTLY = 4
#: Or a part of so many operators.
LONG = 3
SCORE = tile("s")
VISIBLE = Var("visible", "bool")


@dataclass(frozen=True)
class ScoreGradient:
    """A score as its kernels need it: the logit, its derivatives by the dot and by learned reads (in
    the order asked for), and what they share."""

    values: Values
    row: RowFunction
    t: Logit
    slope: Expr
    by_read: tuple[Expr, ...]
    parts: tuple[tuple[str, Expr], ...]

    def probability(
        self,
        axes: tuple[str, str],
        visible: Expr | None,
        guard: Expr | None,
        also: Sequence[Expr] = (),
        after: Expr | None = None,
    ) -> list[Stmt]:
        """From ``s``, the dot, to ``p``; the row's statistics are loaded where rows are the inner axis.

        What ``also`` needs of the tile is made available too; what ``after`` needs is there.
        """
        used = [self.t.value, self.slope, *self.by_read, *(e for _, e in self.parts), *also]
        used += [visible] if visible is not None else []
        out: list[Stmt] = self.values.in_loop(*used, bounds=guard, after=after)
        for name, part in self.parts:
            along = tuple(a for a in axes if a in self.values.level(part)) or axes
            out.append(Map(Tile(name, along, TILE_DTYPE[part.type]), part))
        if axes[1] == "q":
            out += self.row.for_weights(guard)
        if visible is not None:
            out.append(Map(Tile("visible", axes, "bool"), visible, "pairs that see each other"))
        p, note = self.row.weight(self.t.value)
        if visible is not None:
            p = call("where", VISIBLE, p, real(0.0))
        out.append(Map(Tile("p", axes, "acc"), p, note))
        return out

    def of_scores(self, axes: tuple[str, str], visible: Expr | None, guard: Expr | None) -> list[Stmt]:
        """From ``p`` and ``dp`` to ``ds``, the gradient of the score."""
        ir = self.values.ir
        out: list[Stmt] = [*self.row.for_slope(guard)] if axes[1] == "q" else []
        out += dropout.drawn(ir, axes)
        ds, note = self.row.slope(dropout.kept(ir, tile("dp")))
        if visible is not None:
            ds = call("where", VISIBLE, ds, real(0.0))
        out.append(Map(Tile("ds", axes, "acc"), ds, note))
        return out

    def times(self, factor: Expr) -> Expr:
        """``ds * factor``; a pair of no weight gives 0 even where the factor is not finite."""
        if factor == ONE:
            return tile("ds")
        product = call("mul", tile("ds"), factor)
        if not may_be_infinite(factor) and not self._of_hidden(factor):
            return product
        return call("where", Call("eq", (tile("ds"), real(0.0)), "bool"), real(0.0), product)

    def _of_hidden(self, factor: Expr) -> bool:
        """Whether a factor looks at what may be anything for hidden pairs: ``s``, or values of a key."""
        of_s = {"s", *(name for name, part in self.parts)}
        floats = {v.name for v in walk(factor) if isinstance(v, Var) and v.type == "float"}
        of_keys = {name for name in floats if "k" in self.values.axes.get(name, ())}
        return self.values.ir.mask is not None and bool(floats & of_s or of_keys)


def score_gradient(ir: AttentionIR, values: Values, reads: Sequence[Read] = ()) -> ScoreGradient:
    """The score of ``ir`` and its derivatives. Raises ``NoDerivative``."""
    row = row_function(ir)
    t = row.logit(values.load_reads(ir.score))
    slopes = (derivative(ir.score, SCORE), *(derivative(ir.score, r) for r in reads))
    dot = {"s": call("mul", SCORE, real(ir.scale))}
    found = [scaled(substitute(values.load_reads(e), dot)) for e in slopes]
    found = [values.hoist(e) for e in (t.value, *found)]
    parts, (value, slope, *by_read) = share(found, invented("t"), _worth)
    for name, part in parts:
        values.axes[name] = values.level(part)
    return ScoreGradient(values, row, replace(t, value=value), slope, tuple(by_read), tuple(parts))


def _worth(e: Expr) -> bool:
    """Whether a part that occurs twice is computed once: not what the compiler folds away anyway."""
    ops = [OPS[n.op] for n in walk(e) if isinstance(n, Call)]
    costly = any(op.special or op.slots >= COSTLY for op in ops)
    return SCORE in set(walk(e)) and (costly or operators(e) >= LONG)


def may_be_infinite(e: Expr) -> bool:
    """Whether a derivative can leave the finite numbers: it divides, or has a pole, or grows without end."""
    for n in walk(e):
        if isinstance(n, Const) and n.type == "float" and abs(n.value) == float("inf"):
            return True
        if isinstance(n, Call) and n.op in ("log", "log2", "exp", "exp2", "sqrt"):
            return True
        if isinstance(n, Call) and n.op == "div" and not isinstance(n.args[1], Const):
            return True
    return False
