"""Smart constructors for integer and boolean expressions, exact by construction.

Integers are kept as affine sums (``2*a + b + 3``) with one canonical order, so equal bounds are equal
trees. Only exact rewrites happen here: floats are never folded, reordered or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from .lengths import LENGTHS, SIDES
from .nodes import FALSE, TRUE, Call, Const, Expr, Var, integer

#: Variables that are never negative: lengths, counts, indices and tile sides.
NON_NEGATIVE = frozenset((*LENGTHS, *SIDES, *"b h hkv q k q_lo q_hi k_lo k_hi q_tile k_tile group".split()))


#: The last element of an axis bounds every index of that axis.
LENGTH_OF = {"q": "Nq", "q_hi": "Nq", "k": "Nk", "k_hi": "Nk"}
#: The first row of a tile is at most its last.
FIRST_OF = {"q_hi": "q_lo", "k_hi": "k_lo"}


@lru_cache(maxsize=1 << 14)
def affine(e: Expr) -> tuple[Mapping[Expr, int], int]:
    """``e`` (int) as a sum of coefficient * atom, plus a constant."""
    if isinstance(e, Const):
        return {}, int(e.value)
    if isinstance(e, Call) and e.op in ("add", "sub"):
        terms, const = affine(e.args[0])
        other, other_const = affine(e.args[1])
        sign = 1 if e.op == "add" else -1
        total = dict(terms)
        for atom, c in other.items():
            total[atom] = total.get(atom, 0) + sign * c
        return {a: c for a, c in total.items() if c}, const + sign * other_const
    if isinstance(e, Call) and e.op == "neg":
        terms, const = affine(e.args[0])
        return {a: -c for a, c in terms.items()}, -const
    if isinstance(e, Call) and e.op == "mul":
        for scale, rest in (e.args, e.args[::-1]):
            if isinstance(scale, Const):
                terms, const = affine(rest)
                n = int(scale.value)
                return {a: c * n for a, c in terms.items() if c * n}, const * n
    return {e: 1}, 0


#: The order of variables in a sum, then other names, then other atoms, large ones first. The key's index
#: is subtracted last: what comes before it is one value for a row.
_ADDED = {n: i for i, n in enumerate("q q_lo q_hi k k_lo k_hi Nk Nq".split())}
_TAKEN = {n: i for i, n in enumerate("q q_lo q_hi Nk Nq k_lo k_hi k".split())}


@lru_cache(maxsize=1 << 14)
def _order(atom: Expr, added: bool) -> tuple[int, int, str]:
    text = repr(atom)
    if isinstance(atom, Var):
        return 0, (_ADDED if added else _TAKEN).get(atom.name, len(_ADDED)), text
    return 1, -len(text), text


def from_affine(terms: Mapping[Expr, int], const: int) -> Expr:
    """The canonical sum: positive terms first, the constant last, one order for equal sums."""
    out: Expr | None = None
    for atom, c in sorted(terms.items(), key=lambda t: (t[1] < 0, _order(t[0], t[1] > 0))):
        part = atom if abs(c) == 1 else Call("mul", (integer(abs(c)), atom), "int")
        if out is None:
            out = part if c > 0 else Call("neg", (part,), "int")
        else:
            out = Call("add" if c > 0 else "sub", (out, part), "int")
    if out is None:
        return integer(const)
    if const:
        out = Call("add" if const > 0 else "sub", (out, integer(abs(const))), "int")
    return out


def simplify(e: Expr) -> Expr:
    """An int expression in canonical affine form (its atoms are left as they are)."""
    return from_affine(*affine(e))


def add(*parts: Expr) -> Expr:
    """The sum of int expressions."""
    total = parts[0]
    for p in parts[1:]:
        total = Call("add", (total, p), "int")
    return simplify(total)


def neg(a: Expr) -> Expr:
    """-a."""
    return simplify(Call("neg", (a,), "int"))


def sub(a: Expr, b: Expr) -> Expr:
    """a - b."""
    return simplify(Call("sub", (a, b), "int"))


def mul(a: Expr, b: Expr) -> Expr:
    """a * b."""
    if isinstance(b, Const):
        a, b = b, a
    return simplify(Call("mul", (a, b), "int"))


def constant(e: Expr) -> int | None:
    """The value of an int expression that is a literal, else None."""
    return int(e.value) if isinstance(e, Const) else None


def floordiv(a: Expr, b: Expr) -> Expr:
    """floor(a / b)."""
    x, y = constant(a), constant(b)
    if y == 1:
        return a
    if x is not None and y:
        return integer(x // y)
    if y and y > 0:  # (y*c*t + rest) // y = c*t + rest // y
        terms, const = affine(a)
        whole = {t: c // y for t, c in terms.items() if c % y == 0}
        if whole:
            rest = from_affine({t: c for t, c in terms.items() if c % y}, const)
            return add(from_affine(whole, 0), floordiv(rest, b))
    return Call("floordiv", (a, b), "int")


def cdiv(a: Expr, b: Expr) -> Expr:
    """ceil(a / b) for b > 0."""
    x, y = constant(a), constant(b)
    if y == 1:
        return a
    if x is not None and y:
        return integer(-(-x // y))
    return Call("cdiv", (a, b), "int")


def mod(a: Expr, b: Expr) -> Expr:
    """a - b * floor(a / b)."""
    x, y = constant(a), constant(b)
    if x is not None and y:
        return integer(x % y)
    return Call("mod", (a, b), "int")


def guarded(e: Expr) -> Expr:
    """A quotient or remainder by what may be zero, written so that nothing is ever divided by zero."""
    if not isinstance(e, Call) or e.op not in ("floordiv", "mod") or constant(e.args[1]):
        return e
    a, b = e.args
    zero = compare("eq", b, integer(0))
    return where(zero, integer(0), Call(e.op, (a, where(zero, integer(1), b)), "int"))


def non_negative(e: Expr) -> bool:
    """True when e >= 0 for all lengths and indices (a sufficient test)."""
    if isinstance(e, Const):
        return e.value >= 0
    if isinstance(e, Var):
        return e.name in NON_NEGATIVE
    if isinstance(e, Call):
        if e.op in ("add", "mul", "floordiv", "cdiv", "min"):
            return all(map(non_negative, e.args))
        if e.op in ("max", "bit_and"):
            return any(map(non_negative, e.args))
        if e.op in ("bit_or", "bit_xor"):
            return all(map(non_negative, e.args))
        if e.op == "shift_right":
            return non_negative(e.args[0])
        if e.op == "mod":
            return non_negative(e.args[1])
        if e.op == "abs":
            return True
        if e.op == "where":
            return all(map(non_negative, e.args[1:]))
    return False


@lru_cache(maxsize=1 << 16)
def at_most(a: Expr, b: Expr) -> bool:
    """True when a <= b is provable (a sufficient test)."""
    terms, const = affine(_lowest(sub(b, a)))
    if const >= 0 and all(c > 0 and non_negative(t) for t, c in terms.items()):
        return True
    if isinstance(a, Call):
        if a.op == "min" and any(at_most(x, b) for x in a.args):
            return True
        if a.op == "max" and all(at_most(x, b) for x in a.args):
            return True
    if isinstance(b, Call):
        if b.op == "max" and any(at_most(a, x) for x in b.args):
            return True
        if b.op == "min" and all(at_most(a, x) for x in b.args):
            return True
    rounded = ("floordiv", "cdiv")
    if isinstance(a, Call) and isinstance(b, Call) and a.op in rounded and b.op in rounded:
        same_side = a.args[1] == b.args[1] and non_negative(a.args[1])
        return same_side and (a.op, b.op) != ("cdiv", "floordiv") and at_most(a.args[0], b.args[0])
    return False


def _lowest(e: Expr) -> Expr:
    """A lower bound of the affine ``e``: where an index is subtracted its axis' last element stands for
    it, and the last row of a tile is at least its first."""
    terms, const = affine(e)
    out: dict[Expr, int] = {}
    for t, c in terms.items():
        if c < 0 and isinstance(t, Var) and t.name in LENGTH_OF:
            t, const = Var(LENGTH_OF[t.name], "int"), const - c
        elif c > 0 and isinstance(t, Var) and t.name in FIRST_OF:
            t = Var(FIRST_OF[t.name], "int")
        out[t] = out.get(t, 0) + c
    return from_affine({t: c for t, c in out.items() if c}, const)


def minimum(a: Expr, b: Expr) -> Expr:
    """min(a, b)."""
    if at_most(a, b):
        return a
    if at_most(b, a):
        return b
    return Call("min", (a, b), "int")


def maximum(a: Expr, b: Expr) -> Expr:
    """max(a, b)."""
    if at_most(a, b):
        return b
    if at_most(b, a):
        return a
    return Call("max", (a, b), "int")


def compare(op: str, a: Expr, b: Expr) -> Expr:
    """a op b, decided where provable (op in lt le gt ge eq ne)."""
    if op in ("gt", "ge"):
        return compare({"gt": "lt", "ge": "le"}[op], b, a)
    gap = constant(sub(b, a)) if a.type == b.type == "int" else None
    if gap is not None:
        return TRUE if {"lt": gap > 0, "le": gap >= 0, "eq": gap == 0, "ne": gap != 0}[op] else FALSE
    return Call(op, (a, b), "bool")


def both(*parts: Expr) -> Expr:
    """The conjunction of bool expressions."""
    return _fold("and", parts, TRUE, FALSE)


def either(*parts: Expr) -> Expr:
    """The disjunction of bool expressions."""
    return _fold("or", parts, FALSE, TRUE)


def _fold(op: str, parts: Iterable[Expr], unit: Expr, zero: Expr) -> Expr:
    out = unit
    for p in parts:
        if p == zero or out == zero:
            return zero
        out = p if out == unit else out if p in (unit, out) else Call(op, (out, p), "bool")
    return out


def negate(a: Expr) -> Expr:
    """not a."""
    if a in (TRUE, FALSE):
        return FALSE if a == TRUE else TRUE
    if isinstance(a, Call) and a.op == "not":
        return a.args[0]
    return Call("not", (a,), "bool")


def where(c: Expr, a: Expr, b: Expr) -> Expr:
    """a where c else b."""
    if c == TRUE or a == b:
        return a
    return b if c == FALSE else Call("where", (c, a, b), a.type)
