"""A mask is refused only when it is false for all lengths, and the usual mistakes are proved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Expr
from flashgen.expr.parse import parse
from flashgen.expr.scope import MASK_SCOPE, InputType, Scope
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.visible import never_true

SCOPE = Scope(MASK_SCOPE.variables, {"lengths": InputType(1, "int"), "flags": InputType(1, "bool")})


def mask(text: str) -> Expr:
    return parse(text, SCOPE, want="bool")


@pytest.mark.parametrize(
    "text",
    [
        "False",
        "k < 0",
        "k >= Nk",
        "q > Nq - 1",
        "causal & ~causal",
        "causal & (k > qpos)",
        "window(-1, -1) & window(0, 0)",
        "window(5, -6)",
        "(k < 3) & (k > 5)",
        "(k < 3) & (k > 2)",
        "(2 * k == 2 * q + 1)",
        "(k % 4 == 4)",
        "(k // 8 == 2) & (k < 16)",
        "(k // 8 == 2) & (k >= 24)",
        "abs(k - q) < 0",
        "k * k < 0",
        "(k - q) ** 2 < 0",
        "q * k <= -1",
        "qpos ** 4 + k < 0",
        "min(k, q) > k",
        "hkv > h",
        "(k < lengths[b]) & (k >= lengths[b])",
        "flags[b] & ~flags[b]",
        "((k < 0) | (k >= Nk)) & causal",
    ],
)
def test_proved_never_true(text: str) -> None:
    assert never_true(mask(text))


@pytest.mark.parametrize(
    "text",
    [
        "True",
        "k > 100000",
        "(k - qpos) % 1000 == 777",
        "k < lengths[b]",
        "flags[b]",
        "qpos < 0",
        "qpos ** 3 < 0",
        "qpos * k < 0",
    ],
)
def test_rare_is_not_never(text: str) -> None:
    assert not never_true(mask(text))


@pytest.mark.parametrize("name", list(gallery()))
def test_the_gallery_is_visible(name: str) -> None:
    expr = load_spec(gallery()[name]).mask_expr
    assert expr is None or not never_true(expr)


NUMBERS = st.recursive(
    st.sampled_from("q k qpos Nq Nk h 0 1 2 3 5".split()),
    lambda n: st.one_of(
        st.builds("({} {} {})".format, n, st.sampled_from("+ - *".split()), n),
        st.builds("({} {} {})".format, n, st.sampled_from("// % *".split()), st.sampled_from("2 3".split())),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), n, n),
        st.builds("abs({})".format, n),
    ),
    max_leaves=4,
)
MASKS = st.recursive(
    st.builds("({} {} {})".format, NUMBERS, st.sampled_from("< <= > >= == !=".split()), NUMBERS),
    lambda m: st.builds("({} {} {})".format, m, st.sampled_from("&|"), m) | st.builds("~{}".format, m),
    max_leaves=4,
)


@given(MASKS)
def test_what_is_refused_is_never_true(text: str) -> None:
    expr = mask(text)
    if not never_true(expr):
        return
    for nq, nk in ((1, 1), (4, 4), (3, 6), (6, 3)):
        for q in range(nq):
            for k in range(nk):
                at = {"b": 0, "h": 1, "hkv": 0, "q": q, "k": k, "qpos": q + nk - nq, "Nq": nq, "Nk": nk}
                assert not evaluate_python(expr, at), at
