"""What a statement reads, and what it gives a value to: the one place that knows.

Names of tensors are a space of their own and not among them (``Load.src``, ``Store.dst``).
"""

from __future__ import annotations

from flashgen.expr.nodes import Expr, Var, walk

from .program import Coords, Dot, Keep, Load, Loop, Map, Reduce, Scalar, Stmt, Store, Tile, statements


def result(s: Stmt) -> Tile | None:
    """The tile that a statement assigns."""
    return s.dst if isinstance(s, Coords | Load | Dot | Map | Reduce | Keep) else None


def defined(s: Stmt) -> str | None:
    """The name that a statement gives a value to: a tile, a scalar, a loop's variable."""
    if isinstance(s, Scalar):
        return s.name
    if isinstance(s, Loop):
        return s.var
    dst = result(s)
    return None if dst is None else dst.name


def defined_in(body: tuple[Stmt, ...]) -> list[str]:
    """Every name that the statements of ``body``, and of loops in it, give a value to, in order."""
    return [name for s in statements(body) if (name := defined(s)) is not None]


def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that a statement holds; a loop's are the ends of its ranges."""
    match s:
        case Scalar() | Map():
            return (s.value,)
        case Coords():
            return (s.start,)
        case Load() | Store():
            return (*s.index, *_given(s.guard))
        case Dot():
            return (*_given(s.acc), *_given(s.only))
        case Keep():
            return (s.head, s.q_lo, s.k_lo)
        case Loop():
            return tuple(e for r in s.domain for e in (r.lo, r.hi))
    return ()


def operands(s: Stmt) -> tuple[Tile, ...]:
    """The tiles that a statement names outside expressions, to read them."""
    match s:
        case Store():
            return (s.value,)
        case Dot():
            return (s.a, s.b)
        case Reduce():
            return (s.src,)
        case Keep():
            return (s.seed,)
    return ()


def reads(s: Stmt) -> list[str]:
    """The names that a statement reads, each as often as it does; a loop's are those of its domain and what
    it carries."""
    names = [t.name for t in operands(s)]
    names += [n.name for e in expressions(s) for n in walk(e) if isinstance(n, Var)]
    return [*names, *s.carried] if isinstance(s, Loop) else names


def used(s: Stmt) -> set[str]:
    """The names that a statement needs from outside, for a loop with those of its body."""
    names = set(reads(s))
    if isinstance(s, Loop):
        made = {s.var, *(name for t in s.body if (name := defined(t)) is not None)}
        names |= {name for t in s.body for name in used(t)} - made
    return names


def _given(e: Expr | None) -> tuple[Expr, ...]:
    return () if e is None else (e,)
