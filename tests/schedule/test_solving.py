"""Bounds of any mask are found quickly, and two spellings of one bound are one bound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from flashgen.expr import algebra as al
from flashgen.expr.nodes import walk
from flashgen.expr.parse import parse
from flashgen.ir.attention import close
from flashgen.schedule.bounds import mask_bounds

from ..work import calls_of
from .test_domains import SCOPE, Case, check, masks

#: A few seconds. The masks below take up to 400,000, drawn ones a million.
MOST_CALLS = 10_000_000
#: Each side is one set of keys, written twice.
TWICE = [
    "(k < min(len[b], Nk)) | (k < len[b])",
    "(k < len[b]) | (k < min(Nk, len[b]))",
    "(k <= q + h) | (k <= h + q)",
    "(k <= q + Nk - Nq) | (k <= Nk - Nq + q)",
    "(k // 2 <= (q + h) // 2) | (k // 2 <= (h + q) // 2) | (k // 2 <= (h + q) // 2)",
]


@pytest.mark.parametrize("text", TWICE)
def test_a_bound_written_twice_keeps_its_keys(text: str) -> None:
    check(Case(close(parse(text, SCOPE, want="bool")), 40, 70, 16, 16), "k")
    check(Case(close(parse(text, SCOPE, want="bool")), 70, 40, 16, 16), "q")


def test_sums_have_one_order() -> None:
    one, other = (
        parse(t, SCOPE, want="int") for t in ("q + Nk - Nq + len[b] + h", "len[b] - Nq + h + Nk + q")
    )
    assert al.simplify(one) == al.simplify(other)


def _nested(text: str, depth: int) -> str:
    out = "k"
    for i in range(depth):
        out = text.format(out, i + 1)
    return out


SLOW = {
    "chunks or window": "chunked(64) | window(15, 15)",
    "sinks, chunks and window": "chunked(8192) | (k < 4) | window(1023, 0)",
    "all but one key": "window(5, 3) | (k != len[b])",
    "not a window": "chunked(64) | ~window(64, 64)",
    "holes": " & ".join(f"(k != {7 * i})" for i in range(40)),
    "holes by input": " & ".join(f"(k != len[b] + {i} * q)" for i in range(30)),
    "stripes": " | ".join(f"window({9 * i + 3}, -{9 * i})" for i in range(1, 9)),
    "chunks of many sizes": " | ".join(f"chunked({n})" for n in (8, 12, 20, 48, 100, 300)),
    "unlike windows": " & ".join(f"~window({n}, {3 * n})" for n in range(1, 8)),
    "mixed": "~(chunked(8) | window(3, left[h])) | (abs(k - start[b]) > 2) & (k // 3 != q // 5) | causal",
    "nested abs": f"{_nested('abs({} - {})', 22)} < 3",
    "nested abs of rows": f"({_nested('abs({} - {})', 22).replace('k', 'q')} < 3) & causal",
    "rows, then keys": f"k < {_nested('abs({} - {})', 22).replace('k', 'q')}",
    "nested where": f"{_nested('where({} < {}, 1, 2)', 22)} < 2",
    "nested min and max": f"{_nested('max(min({0}, q + {1}), len[b] - {1})', 20)} < q",
    "row clamps": f"k < {_nested('max(min({0}, q + {1}), len[b] - {1})', 20).replace('(k,', '(q,')}",
    "row conditions": f"({' & '.join(f'((q + {i}) % {i + 2} < len[b])' for i in range(24))}) | causal",
    "quotients": f"{_nested('({} + {}) // 3', 22)} <= q",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW.keys())
def test_no_mask_takes_long(text: str) -> None:
    """No search explodes, and bounds that a person could read."""
    mask = close(parse(text, SCOPE, want="bool"))
    assert calls_of(lambda: mask_bounds(mask)) < MOST_CALLS
    found = mask_bounds(mask)
    assert len(found.full) + len(found.partial) <= 12
    assert all(sum(1 for _ in walk(s.value)) <= 200 for s in found.scalars)


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW.keys())
def test_giving_up_is_sound(text: str) -> None:
    mask = close(parse(text, SCOPE, want="bool"))
    check(Case(mask, 40, 70, 16, 16), "k")
    check(Case(mask, 33, 33, 16, 32), "q")


@pytest.mark.slow
@settings(max_examples=40)
@given(masks(max_leaves=12))
def test_no_drawn_mask_takes_long(text: str) -> None:
    mask = close(parse(text, SCOPE, want="bool"))
    assert calls_of(lambda: mask_bounds(mask)) < MOST_CALLS
