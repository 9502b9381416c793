"""What a row function has: how scores become weights, P, forward and backward.

    forward     start; for each tile of keys a step: S -> P, and O = rescaled O + P V; finish, O scaled
    backward    prepare, once for each row; for each tile P again from S, and dS from P and dP
    merge       two partial results of the same rows, over different keys, become one

Tiles have the names of the papers: ``s`` is the dot and then the score, ``p`` the weights before dropout,
``dp`` their gradient, ``ds`` that of the score; what a row function carries has names of its own. All
methods return statements of a ``Program`` or expressions over its tiles; none knows the sizes of tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from flashgen.errors import PlanError
from flashgen.expr.nodes import Expr
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Load, Stmt, Store, Tile

S, P = (Tile(name, ("q", "k"), "acc") for name in ("s", "p"))


class Sources(Protocol):
    """Where the values of an expression come from: a schedule's ``Values``."""

    def load_reads(self, e: Expr) -> Expr:
        """``e`` with its reads of inputs loaded."""

    def hoist(self, e: Expr) -> Expr:
        """``e`` with what does not change in the loop computed before it."""


class Noted(NamedTuple):
    """A value, and what a note says of it."""

    value: Expr
    note: str


#: rowsum(dO * O) of the rows on chip: its statements and its value. The name is that of its parts.
Products = Callable[[str], tuple[list[Stmt], Expr]]


@dataclass(frozen=True)
class Logit:
    """A score as a row function takes it: an expression of the dot ``s``; ``factor`` where it is just
    ``s * factor``."""

    value: Expr
    factor: float | None
    may_be_minus_inf: bool

    def hoisted(self, values: Sources) -> Logit:
        """The same with what does not change in the loop computed before it."""
        return replace(self, value=values.hoist(self.value))


@dataclass(frozen=True)
class Step:
    """A tile of keys: from ``s`` to ``p`` and the new state; ``close`` comes when O has been rescaled."""

    weights: tuple[Stmt, ...]
    close: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class RowFunction(ABC):
    """The row function of one ``AttentionIR``. What is not abstract is so for one without any state."""

    ir: AttentionIR

    #: What is carried from one tile of keys to the next, by name: numbers of rows.
    carried = tuple[str, ...]()
    #: What a backward makes of each row before any pair, as notes call it.
    prepares = ""
    #: Whether rows past the end of the queries have weights in a backward: nothing that is loaded of them
    #: makes them 0.
    weights_past_the_end = True

    @property
    def left(self) -> tuple[str, ...]:
        """What a forward leaves of each row, beside O: the names of its tensors, results first."""
        return ()

    @property
    def saved(self) -> tuple[str, ...]:
        """What a backward takes of a forward: ``o`` and what is ``left``, or less."""
        return ()

    @property
    def workspaces(self) -> tuple[str, ...]:
        """Numbers of rows that ``prepare`` leaves for the kernels after it."""
        return ()

    @abstractmethod
    def logit(self, score: Expr) -> Logit:
        """A score (whose reads are already values) as ``step`` and ``weight`` take it."""

    def start(self, values: Sources) -> list[Stmt]:
        """The state before any key."""
        return []

    @abstractmethod
    def step(self, t: Logit, visible: Expr | None, rows_may_be_empty: bool) -> Step:
        """One tile of keys. ``visible``: which pairs see each other, None where all do;
        ``rows_may_be_empty``: whether a row may see none of the tile's keys."""

    def rescaled(self, o: Expr) -> Noted:
        """What was summed before a step, as it counts after it."""
        return Noted(o, "O")

    def finish(self) -> list[Stmt]:
        """After the last key: what ``scaled`` needs, and what is left of each row (tiles ``NAME_q``)."""
        return []

    def scaled(self, o: Expr) -> Noted:
        """The result of what was summed."""
        return Noted(o, "")

    def stores(self, rows: Expr) -> list[Store]:
        """What ``finish`` has left, to HBM."""
        return []

    def prepare(self, products: Products, through: str | None, rows: Expr) -> list[Stmt]:
        """What a backward knows of each row before any pair, on chip and stored. ``through``: what of
        ``left`` has a gradient of its own, ``d<through>``. Raises ``PlanError`` where nothing is called that.
        """
        if through is not None:
            raise PlanError(f"{self.ir.row} leaves no {through} that a gradient could arrive at")
        return []

    def prepared(self, guard: Expr | None, sink: bool = False) -> list[Load]:
        """Loads of all that ``prepare`` has left; ``sink``: also of what ``through_sink`` needs."""
        return []

    def for_weights(self, guard: Expr | None) -> list[Load]:
        """Loads of what ``weight`` needs of each row."""
        return []

    def for_slope(self, guard: Expr | None) -> list[Load]:
        """Loads of what ``slope`` needs of each row, beside that."""
        return []

    @abstractmethod
    def weight(self, t: Expr) -> Noted:
        """P of a visible pair again, from its logit."""

    @abstractmethod
    def slope(self, dp: Expr) -> Noted:
        """dS of a visible pair, from ``p`` and dP (with dropout's factor)."""

    def through_sink(self, values: Sources) -> Noted:
        """What the gradient of a sink loses in each row."""
        raise NotImplementedError(f"{self.ir.row} has no sink")

    @abstractmethod
    def merge(self) -> tuple[Step, Expr | None]:
        """One more partial result of the same rows, whose ``left`` are tiles ``NAME_part``: the step of the
        state, and the factor of its O; None is 1. Before the first comes ``start`` without a sink, after the
        last ``finish``."""
