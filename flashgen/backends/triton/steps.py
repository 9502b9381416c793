"""What shared memory holds at each statement of a body: operands of dots, and tiles changing their layout.

A body's statements come in; the ``Step`` of each that may need shared memory goes out, by tile axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from flashgen.ir.program import Coords, Dot, Load, Map, Reduce, Scalar, Stmt, Store, Tile, statements
from flashgen.ir.uses import result, used
from flashgen.plan.model.facts import BodyFacts


@dataclass(frozen=True)
class Step:
    """One statement.

    ``held``: operands loaded in this body that a dot here or later reads. ``turned``: the loaded operand
    that a dot here reads transposed. ``computed``: the computed first operand of a dot here. ``moved``: a
    tile that goes from the layout of loads to that of a dot's results; ``once``: it is the same in every
    pass of the loop; ``back``: results go to the layout of loads as well, to be reduced. ``stored``: a tile
    that goes back for a store. ``past``: operands loaded in this body whose last dot was before.
    """

    held: tuple[Tile, ...] = ()
    turned: Tile | None = None
    computed: str = ""
    moved: Tile | None = None
    once: bool = False
    back: bool = False
    stored: Tile | None = None
    past: tuple[Tile, ...] = ()


@lru_cache(maxsize=256)
def steps_of(body: BodyFacts) -> list[Step]:
    """The steps of one pass through ``body``."""
    return steps(body.body, operands(body.body), body.loaded, body.var)


@lru_cache(maxsize=256)
def turned_of(body: BodyFacts) -> frozenset[str]:
    """Operands that a pass through ``body`` only reads transposed."""
    return turned(body.body)


def operands(body: tuple[Stmt, ...]) -> set[str]:
    """Names of all tiles that dots of ``body`` read."""
    return {t for s in statements(body) if isinstance(s, Dot) for t in (s.a.name, s.b.name)}


def turned(body: tuple[Stmt, ...]) -> frozenset[str]:
    """Loaded operands that every dot of ``body`` that reads them reads transposed."""
    read: dict[str, bool] = {}
    for s in statements(body):
        if isinstance(s, Dot):
            read[s.a.name] = False
            read[s.b.name] = read.get(s.b.name, True) and _turns(s)
    return frozenset(name for name, only in read.items() if only)


def _turns(s: Dot) -> bool:
    return s.b.axes[-1] == s.contract


def steps(
    body: tuple[Stmt, ...], operands: set[str], outer: Mapping[str, Tile], var: str | None
) -> list[Step]:
    """The steps of ``body``, loops in it apart. ``operands``: names of all tiles that dots read; ``outer``:
    tiles loaded before the loop over ``var`` that ``body`` is of."""
    loaded = {s.dst.name: s.dst for s in body if isinstance(s, Load)}
    last = {n: i for i, s in enumerate(body) for n in used(s) & loaded.keys() & operands}
    once = _unchanged(body, var)
    reduces = any(isinstance(s, Reduce) for s in body)
    out: list[Step] = []
    for i, (s, moved) in enumerate(zip(body, _moves(body, operands), strict=True)):
        here = {x.dst.name for x in body[: i + 1] if isinstance(x, Load)}
        held = tuple(x for n, x in loaded.items() if n in here and last.get(n, -1) >= i)
        read = tuple(x for n, x in loaded.items() if n in last)
        past = tuple(x for x in read if x.name in here and x not in held)
        for x in moved:  # that of a tile which stays the same may be anywhere
            same = x.name in once
            out.append(
                Step(read if same else held, moved=x, once=same, back=reduces, past=() if same else past)
            )
        if isinstance(s, Dot):
            out.append(
                Step(
                    held,
                    loaded[s.b.name] if s.b.name in loaded and _turns(s) else None,
                    "" if s.a.name in loaded or s.a.name in outer else s.a.name,
                )
            )
        elif isinstance(s, Load) and s.dst.name in operands:
            out.append(Step(held))
        elif isinstance(s, Store) and len(s.value.axes) > 1:
            out.append(Step(stored=s.value))
    return out


def _moves(body: tuple[Stmt, ...], operands: set[str]) -> Iterator[list[Tile]]:
    """For each statement the tiles that came from loads of ``body`` and first meet a dot's results there."""
    results: set[str] = set()
    come: dict[str, Tile] = {}
    moved: set[str] = set()
    for s in body:
        meet: list[Tile] = []
        for x in statements((s,)):
            names = used(x)
            if isinstance(x, Dot):
                results.add(x.dst.name)
            elif isinstance(x, Load) and x.dst.axes and x.dst.name not in operands and x is s:
                come[x.dst.name] = x.dst
            elif isinstance(x, Map | Reduce) and names & results:
                results.add(x.dst.name)
                meet += [come[n] for n in sorted(names & come.keys() - moved)]
                moved |= names & come.keys()
            elif isinstance(x, Map) and any(come[n].axes == x.dst.axes for n in names & come.keys()):
                come[x.dst.name] = x.dst
        yield meet


def _unchanged(body: tuple[Stmt, ...], var: str | None) -> set[str]:
    """Tiles computed in the body of the loop over ``var`` that no pass changes."""
    changing = {var} | {s.name for s in body if isinstance(s, Scalar)} if var else set()
    found: set[str] = set()
    for s in body:
        dst = result(s)
        if dst is None or not var:
            continue
        if used(s) & changing or isinstance(s, Dot | Coords):
            changing.add(dst.name)
        else:
            found.add(dst.name)
    return found - changing
