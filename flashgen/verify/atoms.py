"""What masks are drawn of: atoms, each a text with the inputs it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from flashgen.errors import ExprError
from flashgen.expr.library import LIBRARY, Function
from flashgen.expr.parse import parse
from flashgen.expr.scope import MASK_SCOPE


@dataclass(frozen=True)
class Term:
    """A piece of an expression with the inputs it reads, each (shape, dtype)."""

    text: str
    inputs: tuple[tuple[str, tuple[tuple[str | int, ...], str]], ...] = ()

    def join(self, text: str, *others: Term) -> Term:
        """A larger piece; the inputs of all parts are kept."""
        return Term(text, tuple(dict.fromkeys(sum((o.inputs for o in others), self.inputs))))


def term(text: str, **inputs: tuple[tuple[str | int, ...], str]) -> Term:
    """A piece that reads ``inputs``."""
    return Term(text, tuple(inputs.items()))


_WIDTHS = st.sampled_from((0, 1, 3, 8, 31, 32, 40))
_STEPS = st.sampled_from((1, 2, 3, 7, 16, 32, 33))


def _is_mask(function: Function) -> bool:
    call = _call(function, [1] * len(function.params))
    try:
        parse(call, MASK_SCOPE, want="bool")
    except ExprError:
        return False
    return True


def _call(function: Function, numbers: Sequence[int]) -> str:
    return f"{function.name}({', '.join(map(str, numbers))})" if function.params else function.name


def _library_mask(draw: st.DrawFn) -> Term:
    function = draw(st.sampled_from(_MASKS))
    return term(_call(function, [draw(_STEPS) for _ in function.params]))


_MASKS = tuple(f for f in LIBRARY.values() if _is_mask(f))
# A composite is made once, and so is a strategy without arguments: hypothesis parses the source of the
# former, and looks into all of the latter, which takes longer than to draw from them.
_library_masks = st.composite(_library_mask)


#: Atoms of masks: one strategy a line. Every library function that is a mask is among them.
ATOMS: tuple[st.SearchStrategy[Term], ...] = (
    _library_masks(),
    _library_masks(),
    _library_masks(),
    st.builds(lambda n: term(f"k < {n}"), st.sampled_from((1, 4, 33, 64))),
    st.builds(lambda a, n: term(f"{a} * k <= qpos + {n}"), st.sampled_from((2, 3)), _WIDTHS),
    st.builds(lambda n, r: term(f"(k - q) % {n} != {r}"), _STEPS, st.sampled_from((0, 1))),
    st.builds(lambda n, m: term(f"k // {n} <= qpos // {m}"), _STEPS, _STEPS),
    st.builds(lambda n: term(f"abs(k - qpos) <= {n}"), _WIDTHS),
    st.builds(lambda n: term(f"qpos - {n} <= k <= max(qpos, {n})"), _WIDTHS),
    st.just(term("h % 2 == 0")),
    st.just(term("k < length[b]", length=(("batch",), "int"))),
    # One bound in two spellings: neither may drop the other.
    st.just(term("(k < length[b]) | (k < min(length[b], Nk))", length=(("batch",), "int"))),
    st.just(term("(k <= q + h) | (k <= h + q)")),
    st.just(term("k >= start[b]", start=(("batch",), "int"))),
    st.just(term("k <= qpos + ahead", ahead=((), "int"))),
    st.just(term("qpos - k <= reach[h]", reach=(("heads",), "int"))),
    st.just(
        term(
            "doc_q[b, q] == doc_k[b, k]",
            doc_q=(("batch", "seqlen_q"), "int"),
            doc_k=(("batch", "seqlen_k"), "int"),
        )
    ),
    st.just(
        term(
            "(at_k[b, k] <= at_q[b, q]) & (at_q[b, q] - at_k[b, k] < 20)",
            at_q=(("batch", "seqlen_q"), "int"),
            at_k=(("batch", "seqlen_k"), "int"),
        )
    ),
    st.builds(lambda n: term(f"at_k[b, k] // {n} != h", at_k=(("batch", "seqlen_k"), "int")), _STEPS),
    st.just(term("(q * 100000000) % 7 <= (k * 100000000) % 7")),
    st.just(term("k + length[b] < 5", length=(("batch",), "int"))),
    st.just(term("k < length[b] - 1", length=(("batch",), "int"))),
    st.just(term("keep[b, k]", keep=(("batch", "seqlen_k"), "bool"))),
    st.just(term("allowed[h, q, k]", allowed=(("heads", "seqlen_q", "seqlen_k"), "bool"))),
)

#: Bounds by every class of scalar: what a kernel computes before its loops, of which several may meet.
SCALARS: tuple[Term, ...] = (
    term("k < length[b] - 1", length=(("batch",), "int")),
    term("qpos - k < reach[h] + 2", reach=(("heads",), "int")),
    term("k + 1 >= first[hkv] - b", first=(("kv_heads",), "int")),
    term("k < Nk - 5"),
    term("k < Nq + h"),
    term("k * 2 <= Nk + hkv + b"),
    term("k >= 3"),
)
ATOMS = (*ATOMS, st.sampled_from(SCALARS))
