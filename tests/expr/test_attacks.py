"""Texts that are not in the language are refused: quickly, with a place, and without running anything."""

from __future__ import annotations

import contextlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.errors import ExprError
from flashgen.expr.parse import parse

from ..work import calls_of
from .strategies import SCOPE

ATTACKS = {
    "attribute": "s.__class__",
    "method": "s.item()",
    "attribute of a literal": "(1).real",
    "dunder call": "__import__('os').system('id')",
    "dunder name": "__builtins__",
    "bare dunder call": "__import__(os)",
    "subclasses": "().__class__.__bases__[0].__subclasses__()",
    "eval": "eval(s)",
    "exec": "exec(open)",
    "lambda": "(lambda: 1)()",
    "list comprehension": "[x for x in (1, 2)]",
    "generator": "max(x for x in q)",
    "dict": "{1: 2}",
    "set": "{q}",
    "list": "[q, k]",
    "tuple": "q, k",
    "empty tuple": "()",
    "string": "'s'",
    "f-string": 'f"{s}"',
    "bytes": "b'x'",
    "backtick": "`id`",
    "walrus": "(x := 5)",
    "assignment": "s = 1",
    "augmented assignment": "s += 1",
    "statement": "s; import os",
    "import": "import os",
    "comment": "s # + k",
    "newline statement": "s\nimport os",
    "and": "k < q and q < k",
    "or": "k < q or q < k",
    "not": "not causal",
    "if else": "s if causal else 0",
    "exclamation": "!causal",
    "is": "q is k",
    "in": "q in k",
    "double ampersand": "causal && causal",
    "xor of a condition and an integer": "causal ^ 1",
    "xor as a power": "s ^ 2",
    "bits of a float": "s & 1",
    "bits of a condition and an integer": "causal & 1",
    "bits in a chain": "k < 4 | q < 8",
    "bits in a chain of calls": "k < max(4 | q, 2) & q == 8",
    "not of an integer, compared": "~k < 4",
    "not of a float": "~s",
    "shift": "1 << 40",
    "shift by less than nothing": "q >> -1",
    "shift by a float": "q << s",
    "shift of a condition": "causal << 1",
    "many shifts": "1" + " << 1" * 900,
    "matmul": "q @ k",
    "ternary": "causal ? s : 0",
    "pointer": "s->x",
    "await": "await s",
    "yield": "(yield s)",
    "starred": "max(*q)",
    "double starred": "max(**q)",
    "keyword argument": "max(a=q, b=k)",
    "slice": "slopes[0:1]",
    "ellipsis": "bias[...]",
    "negative index": "slopes[-1]",
    "float index": "slopes[s]",
    "condition as index": "slopes[causal]",
    "too few indices": "bias[h]",
    "too many indices": "slopes[h, q]",
    "double index": "slopes[h][q]",
    "index of a variable": "s[0]",
    "index of a function": "exp[0]",
    "index of brackets": "(s)[0]",
    "input without index": "slopes + s",
    "call of an input": "slopes(h)",
    "call of a variable": "s(1)",
    "call of a call": "exp(s)(s)",
    "call of a number": "2(s)",
    "call of brackets": "(exp)(s)",
    "function without call": "exp",
    "internal operator": "cdiv(q, k)",
    "operator by name": "add(q, k)",
    "implicit product": "2 s",
    "full-width letter": "ｓ",
    "full-width digit": "s + １",
    "arabic digit": "s + ٣",
    "superscript": "s²",
    "cyrillic letter": "ѕ",
    "greek letter": "ε + s",
    "mathematical letter": "𝐬",
    "minus sign": "s − 1",
    "not equal sign": "q ≠ k",
    "non-breaking space": "s +\u00a01",
    "zero-width space": "s\u200b",
    "right-to-left override": "s\u202e",
    "null byte": "s\x00",
    "null byte inside": "s + \x00k",
    "escape character": "\x1b[31ms",
    "form feed": "s +\x0ck",
    "lone surrogate": "s\ud800",
    "byte order mark": "\ufeffs",
    "huge power": "9 ** 9 ** 9",
    "large exponent": "s ** 999999999",
    "negative power": "s ** -1",
    "power of a variable": "s ** q",
    "fractional power": "s ** 0.5",
    "power of a condition": "causal ** 2",
    "nested powers": "((s ** 8) ** 8) ** 8",
    "huge integer": "s + " + "9" * 1900,
    "too large integer": "s + 2147483648",
    "too large float": "s + 1e999",
    "hexadecimal": "s + 0x10",
    "octal": "s + 0o17",
    "leading zero": "s + 010",
    "underscored": "s + 1_000",
    "imaginary": "s + 1j",
    "broken exponent": "s + 1e",
    "two points": "s + 1.2.3",
    "nan": "nan",
    "None": "None",
    "deep brackets": "(" * 900 + "s" + ")" * 900,
    "deep minus": "-" * 1900 + "s",
    "deep not": "~" * 1900 + "causal",
    "deep calls": "exp(" * 400 + "s" + ")" * 400,
    "deep indices": "length[" * 200 + "b" + "]" * 200,
    "unclosed brackets": "(" * 1900,
    "long sum": "+".join(["s"] * 900),
    "many nodes": "+".join(["(" + "*".join(["s"] * 30) + ")"] * 30),
    "library bomb": "t5_bucket(" * 5 + "k" + ")" * 5,
    "very long": "s" + " + s" * 100_000,
    "very long name": "x" * 1999,
    "empty": "",
    "blank": " \n\t ",
    "only an operator": "+",
    "sign": "+s",
    "missing operand": "s *",
    "missing argument": "max(s, )",
    "missing comma": "max(s s)",
    "unclosed": "(s",
    "unopened": "s)",
    "crossed": "(slopes[h)]",
    "division by zero": "q // 0",
    "remainder by zero": "q % 0",
    "floor division of floats": "s // 2",
    "comparison of a condition and a number": "causal == 1",
    "order of conditions": "causal < causal",
    "sum of conditions": "causal + causal",
    "precedence": "k < 4 | causal",
    "unknown name": "scores",
    "argument to a constant function": "causal(1)",
}


#: Of Python functions, to read and refuse a text three times: a fraction of a second.
MOST_CALLS = 400_000


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_refused(text: str) -> None:
    def refused() -> None:
        for want in ("float", "bool", "int"):
            with pytest.raises(ExprError) as caught:
                parse(text, SCOPE, want=want)
            error = caught.value
            assert 0 <= error.offset <= len(text)
            assert 10 < len(error.message) < 700
            assert error.message.isprintable(), "a message must not carry the text's control characters"

    modules = set(sys.modules)
    assert calls_of(refused) < MOST_CALLS
    assert set(sys.modules) == modules, "nothing may be imported by an expression"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refused(text)


WORDS = """s q k h slopes bias [ ] ( ) , + - * / // % ** < <= == != & | ^ << >> ~ 1 0 0.5 inf True where min
exp causal window"""


@given(st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join))
def test_any_words_are_read_or_refused(text: str) -> None:
    read_or_refused(text)


def read_or_refused(text: str) -> None:
    with contextlib.suppress(ExprError):
        parse(text, SCOPE, want="float")
