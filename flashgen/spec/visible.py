"""Proof that a mask is never true: every way to make it true asks for integers that do not exist.

The mask becomes alternatives, each a set of affine inequalities over q, k and the lengths together with
what always holds (0 <= q < Nq …); Fourier-Motzkin elimination with integer tightening then looks for a
contradiction (Schrijver, Theory of Linear and Integer Programming, section 12.2). What is not affine is
left free, so a proof is a proof, and "not proved" says nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd

from flashgen.expr import algebra as al
from flashgen.expr.bits import ALIKE, spread
from flashgen.expr.nodes import Call, Const, Expr, Var, substitute

#: Past these sizes the search for a proof gives up.
MOST_ALTERNATIVES = 256
MOST_INEQUALITIES = 600


@dataclass(frozen=True)
class AtMostZero:
    """``sum of coefficient * atom, plus constant <= 0``."""

    terms: tuple[tuple[Expr, int], ...]
    constant: int


Opaque = tuple[Expr, bool]  # a condition of which only the truth is known
Case = tuple[frozenset[AtMostZero], frozenset[Opaque]]


class _TooLarge(Exception):
    pass


def never_true(mask: Expr) -> bool:
    """True when ``mask`` is proved false for all lengths, batches, heads, q, k and inputs."""
    q, k, nq, nk = (Var(n, "int") for n in ("q", "k", "Nq", "Nk"))
    mask = substitute(mask, {"qpos": al.add(q, nk, al.neg(nq))})
    b, h, hkv = (Var(n, "int") for n in ("b", "h", "hkv"))
    zero, one = Const(0, "int"), Const(1, "int")
    facts = [_le(zero, x) for x in (q, k, b, h, hkv)]
    facts += [_le(al.add(q, one), nq), _le(al.add(k, one), nk), _le(hkv, h)]
    try:
        return all(_impossible(case, facts) for case in _cases(mask, True))
    except _TooLarge:
        return False


def _le(a: Expr, b: Expr, gap: int = 0) -> AtMostZero:
    """a + gap <= b."""
    terms, constant = al.affine(Call("sub", (a, b), "int"))
    return AtMostZero(tuple(terms.items()), constant + gap)


def _cases(e: Expr, truth: bool) -> list[Case]:
    """Alternatives of which one holds when ``e`` is ``truth``."""
    if isinstance(e, Const):
        return [(frozenset(), frozenset())] if bool(e.value) == truth else []
    if isinstance(e, Call) and e.op == "not":
        return _cases(e.args[0], not truth)
    if isinstance(e, Call) and e.op in ALIKE:
        return _cases(spread(e), truth)
    if isinstance(e, Call) and e.op in ("and", "or"):
        left, right = (_cases(a, truth) for a in e.args)
        both = (e.op == "and") == truth
        if (len(left) * len(right) if both else len(left) + len(right)) > MOST_ALTERNATIVES:
            raise _TooLarge
        return [(x[0] | y[0], x[1] | y[1]) for x in left for y in right] if both else left + right
    if isinstance(e, Call) and e.op in _COMPARE and all(a.type == "int" for a in e.args):
        a, b = e.args
        op = e.op if truth else _COMPARE[e.op]
        less, more = _le(a, b, 1), _le(b, a, 1)
        at_most, at_least = _le(a, b), _le(b, a)
        holds: list[list[AtMostZero]] = {
            "lt": [[less]],
            "le": [[at_most]],
            "gt": [[more]],
            "ge": [[at_least]],
            "eq": [[at_most, at_least]],
            "ne": [[less], [more]],
        }[op]
        return [(frozenset(h), frozenset()) for h in holds]
    return [(frozenset(), frozenset({(e, truth)}))]


#: Each comparison of integers with its opposite.
_COMPARE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}


def _impossible(case: Case, facts: list[AtMostZero]) -> bool:
    known, opaque = case
    if any((e, not truth) in opaque for e, truth in opaque):
        return True
    return _infeasible([*facts, *known, *_about_atoms(known)])


def _about_atoms(known: Iterable[AtMostZero]) -> Iterator[AtMostZero]:
    """What always holds of the atoms that are not variables: quotients, remainders, min, max, squares."""
    todo = [atom for row in known for atom, _ in row.terms]
    seen: set[Expr] = set()
    while todo:
        e = todo.pop()
        if e in seen or not isinstance(e, Call):
            continue
        seen.add(e)
        rows: list[AtMostZero] = []
        x, divisor = e.args[0], al.constant(e.args[1]) if len(e.args) == 2 else None
        zero = Const(0, "int")
        if e.op in ("floordiv", "mod") and divisor and divisor > 0:
            quotient = Call("floordiv", e.args, "int")
            whole = al.mul(Const(divisor, "int"), quotient)
            rows += [_le(whole, x), _le(x, al.add(whole, Const(divisor - 1, "int")))]
            if e.op == "mod":  # x = divisor * quotient + remainder
                rows += [_le(al.add(whole, e), x), _le(x, al.add(whole, e))]
        elif e.op in ("min", "max"):
            rows += [_le(e, a) if e.op == "min" else _le(a, e) for a in e.args]
        elif e.op == "abs":
            rows += [_le(x, e), _le(al.neg(x), e)]
        elif e.op == "mul" and _never_negative(e):
            rows.append(_le(zero, e))
        elif e.op == "int":
            rows += [_le(zero, e), _le(e, Const(1, "int"))]
        todo += [atom for row in rows for atom, _ in row.terms]
        yield from rows


def _never_negative(product: Expr) -> bool:
    """True when each factor that could be negative comes an even number of times."""
    counts: dict[Expr, int] = {}
    todo = [product]
    while todo:
        e = todo.pop()
        if isinstance(e, Call) and e.op == "mul":
            todo += e.args
        else:
            counts[e] = counts.get(e, 0) + 1
    return all(n % 2 == 0 or al.non_negative(e) for e, n in counts.items())


#: ``sum of coefficient * column, plus constant <= 0``: atoms by number, since trees are slow to compare.
Row = tuple[tuple[tuple[int, int], ...], int]


def _infeasible(known: list[AtMostZero]) -> bool:
    """True when no integers satisfy all of ``known`` (by elimination; False when not proved)."""
    column: dict[Expr, int] = {}
    system = {
        _tight({column.setdefault(t, len(column)): c for t, c in row.terms}, row.constant) for row in known
    }
    while True:
        if any(not terms and constant > 0 for terms, constant in system):
            return True
        signs: dict[int, list[int]] = {}
        for terms, _ in system:
            for x, c in terms:
                signs.setdefault(x, [0, 0])[c > 0] += 1
        if not signs:
            return False
        x = min(signs, key=lambda i: signs[i][0] * signs[i][1])
        if signs[x][0] * signs[x][1] > MOST_INEQUALITIES:
            raise _TooLarge
        upper = [(dict(t), c) for t, c in system if dict(t).get(x, 0) > 0]
        lower = [(dict(t), c) for t, c in system if dict(t).get(x, 0) < 0]
        system = {row for row in system if x not in dict(row[0])}
        for (a, a0), (b, b0) in itertools.product(upper, lower):  # positive multiples in which x cancels
            n, m = -b[x], a[x]
            total = {y: n * a.get(y, 0) + m * b.get(y, 0) for y in {**a, **b} if y != x}
            system.add(_tight(total, n * a0 + m * b0))


def _tight(terms: dict[int, int], constant: int) -> Row:
    """The same integers, in lowest terms and one order."""
    g = gcd(*terms.values()) or 1
    return tuple(sorted((x, c // g) for x, c in terms.items() if c)), -(-constant // g)
