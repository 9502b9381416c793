"""Where the values of an expression come from: input reads become loads, and what does not change in
the loop is computed before it.

Each value has a level, the axes it varies along: none (one per program), the program's own axis, or with
the axis its loop runs over (``inner``). The first two go to the prologue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flashgen.expr import algebra as al
from flashgen.expr.interval import interval
from flashgen.expr.nodes import (
    Call,
    Const,
    Expr,
    Read,
    Var,
    children,
    integer,
    variables,
    walk,
    with_children,
)
from flashgen.expr.terms import ZERO, index
from flashgen.ir.attention import QPOS, AttentionIR
from flashgen.ir.names import invented, plain
from flashgen.ir.program import Load, Map, Scalar, Stmt, Tile
from flashgen.ir.uses import defined, used

#: Variables of the language by the axes they vary along. Everything else is one per program.
AXES_OF = {"s": ("q", "k"), "q": ("q",), "k": ("k",)}
TILE_DTYPE = {"float": "acc", "int": "int32", "bool": "bool"}
#: The dims of inputs that a plain index never leaves.
SAFE = {"b": "B", "h": "Hq", "hkv": "Hkv", "q": "Nq", "k": "Nk"}
LENGTH_OF_AXIS = {"q": "Nq", "k": "Nk"}


@dataclass
class Values:
    """Collects the statements that make an expression's leaves available, each made once."""

    ir: AttentionIR
    outer: str = "q"
    inner: str = "k"
    order: tuple[str, str] | None = None  # of the axes of a value along both; None: outer, inner
    prologue: list[Stmt] = field(default_factory=list)
    loop: dict[Expr, Map | Load] = field(default_factory=dict)  # value -> what computes it
    names: dict[Expr, Var] = field(default_factory=dict)
    axes: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(AXES_OF))

    def level(self, e: Expr) -> tuple[str, ...]:
        """The axes ``e`` varies along, in their order."""
        found = {a for name in variables(e) for a in self.axes.get(name, ())}
        return tuple(a for a in self.order or (self.outer, self.inner) if a in found)

    def load_reads(self, e: Expr) -> Expr:
        """``e`` with every input read replaced by the name of a loaded value."""
        e = with_children(e, tuple(self.load_reads(c) for c in children(e)))
        return self._load(e) if isinstance(e, Read) else e

    def load_uniform(self, e: Expr) -> Expr:
        """``e`` with only those reads replaced that are one per program."""
        e = with_children(e, tuple(self.load_uniform(c) for c in children(e)))
        return self._load(e) if isinstance(e, Read) and not self.level(e) else e

    def hoist(self, e: Expr) -> Expr:
        """``e`` with its largest parts that do not vary along the inner axis computed before the loop."""
        if isinstance(e, Const | Var):
            return e
        level = self.level(e)
        if self.inner not in level and e.type != "bool":
            if not level and e.type == "int":
                return self._scalar(e)
            own = "row" if self.outer == "q" else "column"
            return self._define(e, level, "qpos" if e == QPOS else own if level else "c")
        return with_children(e, tuple(self.hoist(c) for c in children(e)))

    def in_loop(self, *exprs: Expr, bounds: Expr | None, after: Expr | None = None) -> list[Stmt]:
        """Statements for the loop values in ``exprs``; ``bounds`` guards loads along the inner axis. Those of
        ``after`` are there already."""
        out: list[Stmt] = []
        done: set[Expr] = set()

        def need(e: Expr) -> None:
            for n in walk(e):
                if n in self.loop and n not in done:
                    done.add(n)
                    s = self.loop[n]
                    for used in s.index if isinstance(s, Load) else (s.value,):
                        need(used)
                    out.append(_with_bounds(s, bounds) if isinstance(s, Load) else s)

        if after is not None:
            need(after)
            out.clear()
        for e in exprs:
            need(e)
        return out

    def _name(self, wanted: str, e: Expr, axes: tuple[str, ...]) -> Var:
        name = invented(wanted, self.axes)
        var = Var(name, e.type)
        self.names[e] = var
        self.axes[name] = axes
        return var

    def _scalar(self, e: Expr) -> Expr:
        if e not in self.names:
            self.prologue.append(Scalar(self._name("n", e, ()).name, e))
        return self.names[e]

    def _emit(self, var: Var, axes: tuple[str, ...], s: Map | Load) -> Var:
        """Put ``s``, which computes ``var``, where the axes say."""
        if self.inner in axes:
            self.loop[var] = s
        else:
            self.prologue.append(s)
        return var

    def _define(self, e: Expr, axes: tuple[str, ...], name: str) -> Expr:
        if e in self.names:
            return self.names[e]
        var = self._name(name, e, axes)
        return self._emit(var, axes, Map(Tile(var.name, axes, TILE_DTYPE[e.type]), e))

    def _load(self, read: Read) -> Expr:
        if read in self.names:
            return self.names[read]
        axes = self.level(read)
        entries: list[Expr] = []
        own = Call("lt", (index(self.outer), index(LENGTH_OF_AXIS[self.outer])), "bool")
        guard: list[Expr] = [own] if self.outer in axes else []
        for i, size in zip(read.index, self.ir.input(read.name).dims, strict=True):
            direct = not self.level(i) or (isinstance(i, Var) and i.name in AXES_OF)
            entries.append(i if direct else self._define(i, self.level(i), f"{read.name}_at"))
            guard += self._inside(i, entries[-1], size)
        short = "".join(plain(i.name) if isinstance(i, Var) else "x" for i in read.index)
        var = self._name(f"{read.name}_{short}", read, axes)
        condition = al.both(*dict.fromkeys(guard)) if guard else None
        tile = Tile(var.name, axes, TILE_DTYPE[read.type])
        return self._emit(var, axes, Load(tile, read.name, tuple(entries), condition))

    def _inside(self, i: Expr, entry: Expr, size: Expr) -> list[Expr]:
        """The bounds checks an index needs, none where it provably stays in [0, size)."""
        if isinstance(i, Var) and i.name in SAFE and SAFE[i.name] == getattr(size, "name", None):
            return []
        last = {
            "q": (ZERO, al.sub(index("Nq"), integer(1))),
            "k": (ZERO, al.sub(index("Nk"), integer(1))),
        }
        low, high = interval(i, last)
        out: list[Expr] = []
        if low is None or not al.at_most(ZERO, low):
            out.append(Call("ge", (entry, ZERO), "bool"))
        if high is None or not al.at_most(al.add(high, integer(1)), size):
            out.append(Call("lt", (entry, size), "bool"))
        return out


def needed_by(e: Expr, made: Sequence[Stmt]) -> list[Stmt]:
    """Those of the statements ``made`` (scalars, loads and maps) that ``e`` rests on."""
    names, out = variables(e), list[Stmt]()
    for s in reversed(made):
        if defined(s) in names:
            names |= used(s)
            out.insert(0, s)
    return out


def _with_bounds(s: Load, bounds: Expr | None) -> Load:
    parts = [p for p in (s.guard, bounds) if p is not None]
    return Load(s.dst, s.src, s.index, al.both(*parts) if parts else None, s.fill, s.note)
