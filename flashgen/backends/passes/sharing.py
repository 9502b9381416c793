"""Kernel -> kernel: what a statement computes more than once is a tile of its own before it."""

from __future__ import annotations

from dataclasses import replace

from flashgen.expr.extent import LANGUAGE, Known
from flashgen.expr.nodes import variables
from flashgen.expr.share import share
from flashgen.ir.names import MARK
from flashgen.ir.program import Kernel, Loop, Map, Scalar, Stmt, Tile
from flashgen.ir.uses import result
from flashgen.ir.widths import counting, tile_dtype


def shared(kernel: Kernel) -> Kernel:
    """``kernel`` with common parts of its maps as maps, in the bits that they need."""
    return replace(kernel, body=_block(kernel.body, {}, LANGUAGE))


def _block(body: tuple[Stmt, ...], axes: dict[str, tuple[str, ...]], known: Known) -> tuple[Stmt, ...]:
    out: list[Stmt] = []
    for s in body:
        match s:
            case Loop():
                s = replace(s, body=_block(s.body, dict(axes), counting(s, known)))
            case Scalar() if s.value.type == "int":
                known = known.knowing(s.name, s.value)
            case Map():
                parts, (value,) = share((s.value,), f"{s.dst.name}{MARK}")
                for name, part in parts:
                    over = {a for v in variables(part) for a in axes.get(v, ())}
                    dst = Tile(name, tuple(a for a in s.dst.axes if a in over), tile_dtype(part, known))
                    out.append(Map(dst, part))
                    axes[name] = dst.axes
                    known = known.knowing(name, part) if part.type == "int" else known
                known = known.knowing(s.dst.name, value) if value.type == "int" else known
                s = replace(s, value=value)
        if (dst_tile := result(s)) is not None:
            axes[dst_tile.name] = dst_tile.axes
        out.append(s)
    return tuple(out)
