"""Text in, tokens out: the only place where characters of a spec are looked at.

ASCII only. Whatever is not in the language is refused here or in ``parse`` by name, with what to write
instead; nothing is ever handed to Python's own parser.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias

from flashgen.errors import ExprError

from .limits import FLOAT_LIMIT, INT_LIMIT

MAX_CHARACTERS = 2000

Kind: TypeAlias = Literal["name", "int", "float", "symbol", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text: ``offset`` counts characters from the start of the expression."""

    kind: Kind
    text: str
    offset: int

    @property
    def end(self) -> int:
        """The offset just behind the token."""
        return self.offset + len(self.text)


_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    # Longest first; the symbols that are not in the language are matched whole for better errors.
    r"|(?P<symbol>\.\.\.|===|!==|:=|->|=>|<<|>>|<>|&&|\|\||\*\*|//|<=|>=|==|!=|"
    r"[-+*/%<>&|~()\[\],=!^@:;.{}'\"`#$?\\])"
)

_SYMBOLS = frozenset("+ - * / // % ** < <= > >= == != & | ^ << >> ~ ( ) [ ] ,".split())

_INSTEAD = {
    "=": "write `==` to compare; arguments are given by position",
    "===": "write `==`",
    "!==": "write `!=`",
    "<>": "write `!=`",
    "!": "write `~` for not, `!=` for not equal",
    "&&": "write `&`",
    "||": "write `|`",
    ":=": "an expression has no assignments",
    ".": "there are no attributes or methods: write `exp(x)` for `torch.exp(x)`; a point needs a digit",
    "...": "write every index out",
    ":": "there are no slices; an input is read one element at a time, as in `bias[h, q, k]`",
    ";": "a field holds one expression",
    "@": "expressions are about one element: there are no matrices",
    "'": "there are no strings",
    '"': "there are no strings",
    "`": "there are no strings",
    "#": "comments belong in the YAML, not in the expression",
}

_KEYWORDS = {
    "and": "write `&`, with each comparison in parentheses: `(a) & (b)`",
    "or": "write `|`, with each comparison in parentheses: `(a) | (b)`",
    "not": "write `~`, as in `~(k < 4)`",
    "if": "`a if c else b` is written `where(c, a, b)`",
    "else": "`a if c else b` is written `where(c, a, b)`",
    "elif": "`a if c else b` is written `where(c, a, b)`",
    "is": "write `==`",
    "in": "write comparisons, as in `(2 <= k) & (k < 5)`",
    "None": "leave the field out instead",
    "lambda": "write what it returns alone, such as `k <= qpos`, with b, h, q, k for its arguments",
    "def": "a field holds one expression",
    "return": "write what is returned alone",
}

#: Characters people type (or paste) for one of ours; NFKC covers the full-width forms.
_LOOKALIKES = {
    "≤": "<=", "≥": ">=", "≠": "!=", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "—": "-",
    "∞": "inf", "∧": "&", "∨": "|", "¬": "~", "√": "sqrt",
    # Cyrillic letters that look Latin.
    **dict(zip("аеорсхукѕһіԛ", "aeopcxykshiq", strict=True)),
}  # fmt: skip


def tokenize(text: str) -> list[Token]:
    """The tokens of ``text``, ending with one of kind ``end``. Raises ``ExprError``."""
    if len(text) > MAX_CHARACTERS:
        raise ExprError(
            f"the expression has {len(text)} characters, the limit is {MAX_CHARACTERS}; "
            "put long tables into an input and read it by index",
            MAX_CHARACTERS,
        )
    out: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExprError(_strange(text[at]), at)
        word = match.group()
        if match.lastgroup == "number":
            out.append(_number(text, at, word))
        elif match.lastgroup == "name":
            if keyword.iskeyword(word) and word not in ("True", "False"):
                raise ExprError(_refuse(word, _KEYWORDS), at)
            out.append(Token("name", word, at))
        elif match.lastgroup == "symbol":
            if word not in _SYMBOLS:
                raise ExprError(_refuse(word, _INSTEAD), at)
            out.append(Token("symbol", word, at))
        at = match.end()
    return [*out, Token("end", "", at)]


def _refuse(word: str, instead: dict[str, str]) -> str:
    message = f"`{word}` is not in the language"
    return f"{message}: {instead[word]}" if word in instead else message


def _strange(char: str) -> str:
    plain = _LOOKALIKES.get(char) or unicodedata.normalize("NFKC", char)
    name = unicodedata.name(char, "a control character")
    # A control character is shown by its number only: it would garble the terminal.
    shown = f"`{char}` (U+{ord(char):04X} {name})" if char.isprintable() else f"U+{ord(char):04X} ({name})"
    try_this = f": type `{plain}`" if plain != char and plain.isascii() and plain.isprintable() else ""
    return f"the character {shown} is not in the language, which is plain ASCII{try_this}"


def _number(text: str, at: int, word: str) -> Token:
    run = re.match(r"[\w.]*", text[at + len(word) :])
    if run and run.group():
        shown = (word + run.group())[:24]
        raise ExprError(f"`{shown}` is not a number of the language: write `12`, `0.5` or `1e-3`", at)
    if not word.isdigit():
        if float(word) > FLOAT_LIMIT:
            says = "this number is too large for a float, which ends at 3.4e38; infinity is written `inf`"
            raise ExprError(says, at)
        return Token("float", word, at)
    if word[0] == "0" and word.strip("0"):
        raise ExprError(f"`{word[:24]}` starts with 0: write `{word.lstrip('0')[:24]}`", at)
    if len(word) > 10 or int(word) >= INT_LIMIT:
        raise ExprError("this integer does not fit 32 bits; a float has a point or exponent: `1e10`", at)
    return Token("int", word, at)
