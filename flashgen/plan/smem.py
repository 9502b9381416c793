"""Shared memory as Triton takes it: pipelined buffers, operands of dots, and tiles changing their layout.

A ``Tiling`` comes in; the parts that exist at the fullest moment of its kernel go out. The rules were read
off Triton 3.6's allocations for sm_80, sm_90 and sm_100; ``flashgen resources`` compares them with the
compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from flashgen.ir.program import Tile
from flashgen.plan.model.facts import Axes, BodyFacts, LoopFacts

from .layouts import MOVED_ITEM, dot_of, moved_bytes
from .resources import Tiling
from .specialise import VECTOR_BYTES
from .steps import Step

#: Bytes that operands of asynchronous dots and of descriptor loads are aligned to.
ALIGNMENT = 1024
#: Barriers of one stage, at most.
BARRIER_BYTES = 32
#: Rows that a warp takes of a tile on its way to an operand; each thread moves a vector at once.
TURNED_ROWS = 8


@dataclass(frozen=True)
class Term:
    """A part of shared memory: ``copies`` (in words: ``each``) of a tile over ``axes``."""

    what: str
    kind: Literal["kept", "buffer", "scratch"]
    copies: int
    each: str
    axes: Axes
    item: int


def smem_terms(t: Tiling) -> list[Term]:
    """The shared memory Triton takes, part by part.

    Operands loaded before a loop stay (Q). In a pipelined loop every load that a dot depends on has a buffer
    for each stage where an asynchronous dot reads it, for each stage but one elsewhere. Without pipelining,
    and around loops, operands are there from their load to their last dot, and a tile that changes its
    layout goes through scratch.
    """
    if not t.target.async_copies:
        return _simple(t)
    if t.target.matrix == "mfma":
        return _registered(t)
    return max(_moments(t, t.facts.body, []), key=lambda terms: terms_bytes(t, terms), default=[])


def terms_bytes(t: Tiling, terms: list[Term]) -> int:
    """Bytes of ``terms``."""
    return sum(x.copies * t.count(x.axes) * x.item for x in terms)


def smem_bytes(t: Tiling) -> int:
    """Bytes of shared memory a block takes."""
    return terms_bytes(t, smem_terms(t))


def pipelined(t: Tiling, loop: LoopFacts) -> bool:
    """Whether the loads of ``loop`` go ahead of its passes: a loop with a loop inside has no stages."""
    return t.stages > 1 and not loop.loops and any(x.leads_to_dot and x.axes for x in loop.loads)


def _moments(t: Tiling, body: BodyFacts, outer: list[Term]) -> Iterator[list[Term]]:
    """What exists at each moment of ``body`` and the loops in it, beside ``outer``."""
    barriers = _barriers(t, body)
    for step in body.steps:
        yield outer + _held(t, body, step) + _scratch(t, body, step) + barriers
    kept = outer + [Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype)) for x in body.loads if x.feeds_dot]
    for loop in body.loops:
        if pipelined(t, loop):
            yield kept + _pipeline(t, loop)
        else:
            yield from _moments(t, loop, kept)


def _barriers(t: Tiling, body: BodyFacts) -> list[Term]:
    """Without pipelining, what tells that a dot of sm_100's matrix units is done."""
    dots = sum(t.wgmma(d) for d in body.dots) if t.target.matrix == "tcgen05" else 0
    return [Term("barriers", "scratch", 1, "", (), dots * BARRIER_BYTES // 4)] if dots else []


def _held(t: Tiling, body: BodyFacts, step: Step) -> list[Term]:
    """Operands that lie in shared memory; the older units take one that they only read transposed from
    registers. Scratch no larger than an operand that just went may be placed beside it."""
    scratch = _moved(t, body, step)
    lie = {n for d in body.dots if t.wgmma(d) or t.fma(d) for n in (d.a, d.b)}
    alive = [*step.held, *(x for x in step.past if t.bytes_of(x) >= scratch)]
    held = [x for x in alive if x.name in lie or x.name not in body.turned]
    return [Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype)) for x in held]


def _pipeline(t: Tiling, loop: LoopFacts) -> list[Term]:
    """The buffers of a pipelined loop, which exist throughout it, and the most scratch beside them."""
    buffered = [x for x in loop.loads if x.leads_to_dot and x.axes]
    asynchronous = {n for d in loop.dots if t.wgmma(d) for n in (d.a, d.b)}
    terms = []
    for x in buffered:
        copies, each = (t.stages, "stages") if x.name in asynchronous else (t.stages - 1, "stages - 1")
        if x.name in asynchronous and (more := _later(t, loop, x.name)):
            terms.append(Term(x.name, "buffer", more, f"{more} more", x.axes, t.item(x.dtype)))
        terms.append(Term(x.name, "buffer", copies, each, x.axes, t.item(x.dtype)))
    names = {x.name for x in buffered}
    rest = [
        replace(s, turned=None) for s in loop.steps if not s.once and not (s.moved and s.moved.name in names)
    ]
    scratch = max((_scratch(t, loop, s) for s in rest), key=lambda s: terms_bytes(t, s), default=[])
    return terms + scratch + _padding(t, terms, bool(asynchronous))


def _later(t: Tiling, loop: LoopFacts, name: str) -> int:
    """The buffers that an operand has beside those of the stages: on matrix units that run on while the next
    pass starts, an operand that is read again with a computed one is waited for so much later. Pieces of a
    head dim are read one after another."""
    reads = [d for d in loop.dots if name in (d.a, d.b)]
    again = [d for d in reads if not d.a_loaded]
    if t.target.matrix != "tcgen05" or not again or len(reads) == len(again):
        return 0
    pieces = [d.b for d in loop.dots if d.a == again[-1].a]
    return 1 + pieces.index(name)


def _padding(t: Tiling, buffers: list[Term], asynchronous: bool) -> list[Term]:
    """What alignment costs at most where buffers of rows stand between aligned ones, and then barriers.

    Barriers lie in a gap of their own; where several operands stay beside the buffers, they may lie after it.
    """
    small = terms_bytes(t, [x for x in buffers if len(x.axes) < 2])
    gaps = -small % ALIGNMENT
    if t.described or t.target.matrix == "tcgen05":
        gaps += ALIGNMENT
        if sum(x.feeds_dot and len(x.axes) > 1 for x in t.facts.body.loads) > 1:
            gaps += t.stages * BARRIER_BYTES
    return [Term("alignment", "scratch", 1, "", (), gaps)] if asynchronous and gaps else []


def _scratch(t: Tiling, body: BodyFacts, step: Step) -> list[Term]:
    """The scratch of tiles that change their layout at a step."""
    if step.moved is not None:
        return [Term(f"{step.moved.name} layout", "scratch", 1, "", (), _moved(t, body, step))]
    if step.stored is not None:
        return [Term(f"{step.stored.name} layout", "scratch", 1, "", (), t.bytes_of(step.stored))]
    found = [_computed(t, body, step.computed) if step.computed else []]
    if step.turned is not None:
        found.append(_turned(t, body, step.turned))
    return max(found, key=lambda terms: terms_bytes(t, terms), default=[])


def _moved(t: Tiling, body: BodyFacts, step: Step) -> int:
    """Bytes of a tile on its way between the layout of loads and that of a dot's results: all of it, or less
    where it is a matrix of a result's shape."""
    x = step.moved
    if x is None:
        return 0
    load = next((y for y in body.loads if y.name == x.name), None)
    dot = dot_of(body, load) if load else None
    if load is None or dot is None or len(x.axes) < 2 or t.by_descriptor(load):
        return t.count(x.axes) * MOVED_ITEM
    return moved_bytes(t, load, dot, _abreast(t, body) > 1, step.back)


def _computed(t: Tiling, body: BodyFacts, name: str) -> list[Term]:
    """A computed operand (P) of the older units goes through scratch where the result is wider than tall,
    since the warps then share its rows; that of fp32 lanes always does."""
    d = next(d for d in body.dots if d.a == name)
    if t.wgmma(d):
        return []
    tile = Term(name, "scratch", 1, "", (*d.m, d.k), t.item(d.dtype))
    both = {o.a for o in body.dots if not o.a_loaded}
    if t.fma(d) and len(both) > 1:  # P and dS are there together
        return [Term(" and ".join(sorted(both)), "scratch", len(both), "", tile.axes, tile.item)]
    if t.fma(d):  # its rows are padded by an element against bank conflicts
        return [tile, Term(f"{name} padding", "scratch", 1, "", d.m, t.item(d.dtype))]
    return [tile] if _abreast(t, body) > 1 else []


def _abreast(t: Tiling, body: BodyFacts) -> int:
    """Warps side by side along a result's columns: all of them where a result is wider than tall, of dots
    of a computed operand where there are any."""
    chained = [d for d in body.dots if not d.a_loaded]
    for d in chained or body.dots:
        width = sum(t.count(n) for n in {o.n for o in body.dots if o.a == d.a})
        if width > t.count(d.m):
            return t.warps
    return 1


def _turned(t: Tiling, body: BodyFacts, x: Tile) -> list[Term]:
    """An operand that the older units read transposed changes its layout a part at a time."""
    d = next(d for d in body.dots if d.b == x.name)
    if t.wgmma(d) or t.fma(d):
        return []
    rows = min(t.sizes[x.axes[0]], TURNED_ROWS * _abreast(t, body))
    each = t.bytes_of(x) // t.sizes[x.axes[0]]
    part = min(t.bytes_of(x), max(t.threads * VECTOR_BYTES, rows * each))
    return [Term(f"{x.name} transposed", "scratch", 1, "", (), part)]


def _simple(t: Tiling) -> list[Term]:
    """Where nothing is copied asynchronously Q comes through registers, with a copy of its own."""
    kept = [Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype)) for x in t.facts.body.loads if x.feeds_dot]
    loops = [
        [Term(x.name, "buffer", 1, "", x.axes, t.item(x.dtype)) for x in loop.loads if x.feeds_dot]
        for loop in t.facts.loops
    ]
    most = max(loops, key=lambda terms: terms_bytes(t, terms), default=[])
    return kept + [replace(x, kind="scratch") for x in kept] + most


def _registered(t: Tiling) -> list[Term]:
    """Where operands move on to registers, each that is loaded before the loop is gone when the next one
    comes."""
    before = [x for x in t.facts.body.loads if x.feeds_dot]
    found = [[Term(x.name, "kept", 1, "", x.axes, t.item(x.dtype))] for x in before]
    for loop in t.facts.loops:
        loads = [x for x in loop.loads if x.leads_to_dot and x.axes]
        if t.stages <= 1:
            loads = sorted((x for x in loads if x.feeds_dot), key=t.bytes_of)[-1:]
        each = "stages - 1" if t.stages > 1 else "one at a time"
        terms = [Term(x.name, "buffer", max(1, t.stages - 1), each, x.axes, t.item(x.dtype)) for x in loads]
        shared = [d for d in loop.dots if not d.a_loaded and t.warps * 32 > t.count(d.m)]  # 32 rows a wave
        scratch = [Term(d.a, "scratch", 1, "", (*d.m, d.k), t.item(d.dtype)) for d in shared[:1]]
        found.append(terms + scratch)
    return max(found, key=lambda terms: terms_bytes(t, terms), default=[])
