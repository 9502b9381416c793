"""A ``Program`` as stable text: one line a statement, for golden files and for reading."""

from __future__ import annotations

from flashgen.expr.nodes import Call, Const, Expr, Read, Var
from flashgen.expr.ops import OPS

from .program import (
    Coords,
    Dot,
    Fence,
    Keep,
    Kernel,
    Load,
    Loop,
    Map,
    Program,
    Range,
    Reduce,
    Scalar,
    Stmt,
    Store,
    Tile,
)


def expression(e: Expr) -> str:
    """``e`` in infix, fully parenthesised below the top."""
    text = _text(e)
    return text[1:-1] if isinstance(e, Call) and text.startswith("(") else text


def _text(e: Expr) -> str:
    if isinstance(e, Const):
        return str(e.value).lower() if e.type == "bool" else repr(e.value)
    if isinstance(e, Var):
        return e.name
    parts = [_text(c) for c in (e.index if isinstance(e, Read) else e.args)]
    if isinstance(e, Read):
        return f"{e.name}[{', '.join(parts)}]"
    symbol = OPS[e.op].symbol
    if symbol:
        return f"({parts[0]} {symbol} {parts[1]})"
    return f"{e.op}({', '.join(parts)})"


def _tile(t: Tile) -> str:
    return f"{t.name}[{','.join(t.axes)}]:{t.dtype}"


def _range(r: Range) -> str:
    return f"[{expression(r.lo)}, {expression(r.hi)})"


def _index(index: tuple[Expr, ...], guard: Expr | None) -> str:
    where = f" if {expression(guard)}" if guard is not None else ""
    return f"[{', '.join(map(expression, index))}]{where}"


def _statement(s: Stmt) -> str:
    match s:
        case Scalar():
            return f"scalar {s.name} = {expression(s.value)}"
        case Coords():
            return f"coords {_tile(s.dst)} from {expression(s.start)}"
        case Load():
            return f"load {_tile(s.dst)} = {s.src}{_index(s.index, s.guard)}"
        case Store():
            return f"store {s.dst}{_index(s.index, s.guard)} = {s.value.name}"
        case Dot():
            acc = f" + {expression(s.acc)}" if s.acc is not None else ""
            only = f" where {expression(s.only)}" if s.only is not None else ""
            return (
                f"dot {_tile(s.dst)} = {s.a.name} . {s.b.name} over {s.contract}{only}{acc} ({s.precision})"
            )
        case Map():
            return f"map {_tile(s.dst)} = {expression(s.value)}"
        case Reduce():
            return f"reduce {_tile(s.dst)} = {s.op} over {s.axis} of {s.src.name}"
        case Keep():
            at = ", ".join(map(expression, (s.head, s.q_lo, s.k_lo)))
            return f"keep {_tile(s.dst)} at ({at}) by {s.seed.name}, p {s.p}"
        case Loop():
            over = " then ".join(map(_range, s.domain))
            return f"loop {s.mask} {s.var} in {over} carrying {', '.join(s.carried)}"
        case Fence():
            return "fence"


def _block(body: tuple[Stmt, ...], depth: int) -> list[str]:
    lines: list[str] = []
    for s in body:
        lines.append("  " * depth + _statement(s))
        if isinstance(s, Loop):
            lines += _block(s.body, depth + 1)
    return lines


def _kernel(k: Kernel) -> list[str]:
    grid = ", ".join(f"{a.name} < {expression(a.extent)}" for a in k.grid)
    axes = ", ".join(f"{a.name}:{expression(a.size)}" for a in k.axes)
    return [f"kernel {k.name} grid({grid}) axes({axes})", *_block(k.body, 1)]


def dump(program: Program) -> str:
    """The whole program."""
    lines = [f"program {program.name} ({program.schedule})"]
    for t in program.tensors:
        lines.append(f"tensor {t.name}({', '.join(map(expression, t.dims))}):{t.dtype} {t.role}")
    for k in program.kernels:
        lines += ["", *_kernel(k)]
    for s in program.sums:
        lines += ["", f"sum {s.dst}{_index(s.index, None)} += {s.src}[{', '.join(s.axes)}]"]
    return "\n".join(lines) + "\n"
