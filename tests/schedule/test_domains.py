"""Masks become loop bounds: against brute force, no visible pair is skipped, no full tile hides one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Expr, Read
from flashgen.expr.parse import parse
from flashgen.expr.scope import InputType, Scope
from flashgen.expr.terms import index
from flashgen.ir.attention import close
from flashgen.ir.program import Range
from flashgen.schedule.domains import Solver, Visible, solve, tiles

NAMES = ("b", "h", "hkv", "q", "k", "qpos", "Nq", "Nk")
INPUTS = {"len": InputType(1, "int"), "left": InputType(1, "int"), "start": InputType(1, "int")}
SCOPE = Scope(dict.fromkeys(NAMES, "int"), INPUTS, {})
DATA = {"len": [0, 17, 40, 75], "left": [3, 16, 33, 64], "start": [0, 5, 30, 90]}

SIDES = st.sampled_from([16, 32, 64])
LENGTHS = st.sampled_from([1, 7, 15, 16, 17, 31, 32, 33, 50, 64, 65, 80, 97])
SMALL = st.integers(0, 70)


def atoms() -> st.SearchStrategy[str]:
    """One predicate each of every kind that people write."""
    side = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    row = st.sampled_from(["q", "qpos", "2 * q", "qpos // 3", "q - 5", "Nk - 1 - q", "min(q, 9)"])
    key = st.sampled_from(["k", "k + 3", "2 * k", "k // 5", "-k", "3 - 2 * k", "max(k, 20)", "k // 4 // 2"])
    bits = st.sampled_from(["k >> 3", "k << 1", "(k & 31)", "(k & 6)", "k >> q", "(k | 3)", "(~k)"])
    return st.one_of(
        st.sampled_from(
            ["(causal)", "(causal_top_left)", "(k < len[b])", "(k >= start[b])", "(qpos - k <= left[h])"]
        ),
        st.builds("window({}, {})".format, SMALL, SMALL),
        st.builds("(k < {})".format, SMALL),
        st.builds("(k // {0} == qpos // {0})".format, st.sampled_from([1, 8, 16, 24, 32])),
        st.builds("((qpos - k) % {} == 0)".format, st.integers(1, 4)),
        st.builds("(abs(qpos - k) {} {})".format, side, SMALL),
        st.builds("({} {} {})".format, st.one_of(key, key, bits), side, row),
        st.builds("(q {} {})".format, side, SMALL),
    )


def twice() -> st.SearchStrategy[str]:
    """One set of keys, written in two ways."""
    pairs: tuple[list[str], ...] = (
        ["k < len[b]", "k < min(len[b], Nk)"],
        ["k <= q + h", "k <= h + q"],
        ["k >= q", "~(q > k)"],
    )
    pairs += ["k <= qpos", "k <= Nk - Nq + q"], ["k > 3 + start[b]", "start[b] - k + 3 < 0"]
    return st.sampled_from(pairs).flatmap(st.permutations).map(lambda p: f"(({p[0]}) | ({p[1]}))")


def masks(max_leaves: int = 4) -> st.SearchStrategy[str]:
    """Boolean combinations of atoms."""
    return st.recursive(
        st.one_of(atoms(), twice()),
        lambda m: st.one_of(
            st.builds("({} & {})".format, m, m),
            st.builds("({} {} {})".format, m, st.sampled_from(["^", "==", "!="]), m),
            st.builds("({} | {})".format, m, m),
            st.builds("~({})".format, m),
        ),
        max_leaves=max_leaves,
    )


@dataclass(frozen=True)
class Case:
    """A mask over one (batch, head), tiled."""

    mask: Expr
    Nq: int
    Nk: int
    BLOCK_M: int
    BLOCK_N: int
    b: int = 1
    h: int = 2

    def value(self, e: Expr, **values: int) -> int | bool | float:
        known = {"Nq": self.Nq, "Nk": self.Nk, "b": self.b, "h": self.h, "hkv": self.h}
        sides = {"BLOCK_M": self.BLOCK_M, "BLOCK_N": self.BLOCK_N}

        def read(r: Read, at: tuple[bool | int | float, ...]) -> int:
            return DATA[r.name][int(at[0])]

        return evaluate_python(e, known | sides | values, read)

    def sees(self, q: int, k: int) -> bool:
        return bool(self.value(self.mask, q=q, k=k))

    def numbers(self, found: Visible, side: str, **tile: int) -> tuple[list[int], list[int]]:
        full, partial = tiles(found, index(side))

        def listed(ranges: Iterable[Range]) -> list[int]:
            ends = [(int(self.value(r.lo, **tile)), int(self.value(r.hi, **tile))) for r in ranges]
            return [j for lo, hi in ends for j in range(lo, hi)]

        return listed(full), listed(partial)


def cases() -> st.SearchStrategy[Case]:
    return st.builds(
        lambda text, *rest: Case(close(parse(text, SCOPE, want="bool")), *rest),
        masks(), LENGTHS, LENGTHS, SIDES, SIDES,
    )  # fmt: skip


def check(case: Case, over: str) -> None:
    """Compare the tile ranges of every tile of the other axis with the pairs themselves."""
    given_axis, n_given, n_over, side_given, side_over = (
        ("q", case.Nq, case.Nk, case.BLOCK_M, "BLOCK_N")
        if over == "k"
        else ("k", case.Nk, case.Nq, case.BLOCK_N, "BLOCK_M")
    )
    interval = (index(f"{given_axis}_lo"), index(f"{given_axis}_hi"))
    solver = Solver(over, index("Nk" if over == "k" else "Nq"), {given_axis: interval})
    found = solve(case.mask, solver)
    width = case.BLOCK_N if over == "k" else case.BLOCK_M
    for lo in range(0, n_given, side_given):
        hi = min(lo + side_given, n_given) - 1
        full, partial = case.numbers(found, side_over, **{f"{given_axis}_lo": lo, f"{given_axis}_hi": hi})
        assert len(set(full + partial)) == len(full + partial), "a tile is visited twice"
        for j in range(-(-n_over // width)):
            inside = range(j * width, min((j + 1) * width, n_over))
            pairs = [
                case.sees(g, o) if over == "k" else case.sees(o, g) for g in range(lo, hi + 1) for o in inside
            ]
            if j in full:
                assert len(inside) == width, f"full tile {j} passes the end"
                assert all(pairs), f"full tile {j} hides a pair"
            elif j not in partial:
                assert not any(pairs), f"tile {j} is skipped though a pair is visible"
        assert all(0 <= j * width < n_over for j in full + partial), "a tile outside the sequence"


@given(cases())
def test_key_tiles_of_a_query_tile(case: Case) -> None:
    check(case, "k")


@given(cases())
def test_query_tiles_of_a_key_tile(case: Case) -> None:
    check(case, "q")


EXACT = {
    "causal": "k <= qpos",
    "window": "window(20, 0)",
    "both_ways": "window(9, 12)",
    "chunked": "causal & (k // 32 == qpos // 32)",
    "padded": "k < len[b]",
    "per_head": "causal & (qpos - k <= left[h])",
}


@pytest.mark.parametrize("text", EXACT.values(), ids=EXACT.keys())
@pytest.mark.parametrize("sides", [(16, 16), (32, 16), (16, 32)])
def test_the_masks_people_use_visit_nothing_in_vain(text: str, sides: tuple[int, int]) -> None:
    """For interval masks the classification is exact: empty tiles are skipped, all-visible ones full."""
    case = Case(close(parse(text, SCOPE, want="bool")), 97, 97, *sides)
    found = solve(case.mask, Solver("k", index("Nk"), {"q": (index("q_lo"), index("q_hi"))}))
    for lo in range(0, case.Nq, case.BLOCK_M):
        hi = min(lo + case.BLOCK_M, case.Nq) - 1
        full, partial = case.numbers(found, "BLOCK_N", q_lo=lo, q_hi=hi)
        for j in range(-(-case.Nk // case.BLOCK_N)):
            inside = range(j * case.BLOCK_N, min((j + 1) * case.BLOCK_N, case.Nk))
            pairs = [case.sees(q, k) for q in range(lo, hi + 1) for k in inside]
            kind = (
                "full" if all(pairs) and len(inside) == case.BLOCK_N else "partial" if any(pairs) else "empty"
            )
            got = "full" if j in full else "partial" if j in partial else "empty"
            assert got == kind, f"rows {lo}..{hi}, tile {j}"


def test_causal_is_one_range_for_each_loop() -> None:
    """The commonest mask costs no select in its loops."""
    mask = close(parse("causal", SCOPE, want="bool"))
    found = solve(mask, Solver("k", index("Nk"), {"q": (index("q_lo"), index("q_hi"))}))
    full, partial = tiles(found, index("BLOCK_N"))
    assert len(full) == len(partial) == 1
    assert full[0].hi == partial[0].lo
