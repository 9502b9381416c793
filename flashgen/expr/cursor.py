"""The parser's hands: moving over tokens, and joining typed pieces under the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flashgen.errors import ExprError

from . import build, messages
from .nodes import Call, Expr, children
from .ops import INFIX, OPS, Op
from .tokens import Token, tokenize

MAX_NODES = 500
MAX_DEPTH = 50
#: How tightly comparisons bind.
COMPARE = OPS["lt"].precedence


@dataclass(frozen=True, slots=True)
class Part:
    """A parsed piece: its expression, the characters it stands in, and its size as a tree."""

    expr: Expr
    start: int
    end: int
    size: int = 1
    depth: int = 1


class Cursor:
    """A position in the tokens of ``text``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0
        self.comparing: list[Part] = []  # left sides of comparisons whose right side is being read

    @property
    def token(self) -> Token:
        """The token not yet taken."""
        return self.tokens[self.at]

    def sees(self, *symbols: str) -> bool:
        """Whether one of ``symbols`` comes next."""
        return self.token.kind == "symbol" and self.token.text in symbols

    def advance(self) -> Token:
        """Take the next token, whatever it is."""
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, symbol: str) -> bool:
        """Take ``symbol`` if it comes next."""
        here = self.sees(symbol)
        self.at += here
        return here

    def expect(self, symbol: str, opened: Token) -> Token:
        """Take ``symbol``, the partner of ``opened``."""
        if not self.sees(symbol):
            closes = f"to close the `{opened.text}` at character {opened.offset + 1}"
            raise ExprError(f"expected `{symbol}` {closes}, found {self.found()}", self.token.offset)
        return self.advance()

    def found(self) -> str:
        """The next token, for a message."""
        return f"`{messages.clip(self.token.text)}`" if self.token.text else "the end"

    def ahead(self) -> list[str]:
        """The arguments in the bracket that opens next, unread: a name where one is nothing but a name."""
        parts: list[list[Token]] = [[]]
        depth = 0
        for token in self.tokens[self.at + 1 : -1]:
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            if depth < 0:
                break
            if token.text == "," and depth == 0:
                parts.append([])
            else:
                parts[-1].append(token)
        return [p[0].text if len(p) == 1 and p[0].kind == "name" else "" for p in parts if p]

    def says(self, part: Part) -> str:
        """The characters of ``part``."""
        return self.text[part.start : part.end]

    def apply(self, name: str, args: Sequence[Part], sign: Token, end: int | None = None) -> Part:
        """The operator ``name`` on typed arguments; ``sign`` is the token that asked for it."""
        try:
            e = build.call(name, *(a.expr for a in args))
        except build.Mismatch as wrong:
            raise ExprError(self._mistyped(name, args, wrong, sign), args[wrong.position].start) from None
        start = min(sign.offset, args[0].start)
        if text := build.unsound(e):
            raise ExprError(text, args[1].start if "zero" in text else start)
        return self.node(e, args, start, args[-1].end if end is None else end)

    def signed(self, rows: Sequence[Op], args: Sequence[Part], sign: Token) -> Part:
        """What ``sign`` means for ``args``, of all that it may mean."""
        types = [a.expr.type for a in args]
        op = build.meant(rows, types) or (rows[0] if len(rows) == 1 else None)
        if op is not None:
            return self.apply(op.name, args, sign)
        taken = [{t for t in ("bool", "int", "float") if any(build.fits(row.takes[i], t) for row in rows)}
                 for i in range(len(args))]  # fmt: skip
        odd = [i for i, t in enumerate(types) if t not in taken[i]]
        odd += [i for i, t in enumerate(types) if not build.fits(rows[0].takes[i], t)]
        raise ExprError(self._unlike(rows, args, odd[0], sign), args[odd[0]].start)

    def unclear(self, left: Part, before: Part | None) -> None:
        """Refuse a comparison whose ``left`` side is read otherwise by most: ``~k < 4``, and after another
        comparison, whose left side is ``before``, ``k < 4 | q < 8``."""
        shown, compares = self.says(left), self.token.text
        if isinstance(left.expr, Call) and left.expr.op == "bit_not" and shown.startswith("~"):
            after = self.tokens[self.at + 1]
            rest = f"{compares} {after.text if after.kind in ('name', 'int', 'float') else '…'}"
            raise ExprError(messages.unclear_not(shown, compares, rest), left.start)
        sign = self.bare(left, "|", "^", "&") if before else None
        if before and sign:
            first = self.text[before.start : sign.offset].strip()
            second = self.text[sign.end : left.end].strip()
            raise ExprError(
                messages.unclear_bits(shown, sign.text, first, f"{second} {compares} …"), sign.offset
            )

    def bare(self, part: Part, *symbols: str) -> Token | None:
        """The first of ``symbols`` in ``part`` that stands in no brackets."""
        depth = 0
        for token in self.tokens:
            if part.start <= token.offset < part.end and token.kind == "symbol":
                depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
                if depth == 0 and token.text in symbols:
                    return token
        return None

    def node(self, e: Expr, parts: Sequence[Part], start: int, end: int) -> Part:
        """A new node over ``parts``, counted."""
        promoted = any(new is not p.expr for new, p in zip(children(e), parts, strict=False))
        size = 1 + 2 * promoted + sum(p.size for p in parts)
        depth = 1 + promoted + max((p.depth for p in parts), default=0)
        self.limit(size, depth, start)
        return Part(e, start, end, size, depth)

    def limit(self, size: int, depth: int, offset: int) -> None:
        """Refuse what has grown too large."""
        written_out = "after powers and library functions are written out"
        if size > MAX_NODES:
            raise ExprError(f"the expression has more than {MAX_NODES} parts {written_out}", offset)
        if depth > MAX_DEPTH:
            raise ExprError(f"the expression is more than {MAX_DEPTH} levels deep {written_out}", offset)

    def _mistyped(self, name: str, args: Sequence[Part], wrong: build.Mismatch, sign: Token) -> str:
        part, shown = args[wrong.position], OPS[name].symbol or sign.text
        return messages.mistyped(name, shown, self.says(part), wrong.takes, wrong.got)

    def _unlike(self, rows: Sequence[Op], args: Sequence[Part], at: int, sign: Token) -> str:
        """For arguments that a sign of several meanings has none for; ``at``: the first that is wrong."""
        kinds = [op.takes[0] for op in rows]
        message = messages.unlike(sign.text, kinds, [(self.says(a), a.expr.type) for a in args])
        left, right = self.says(args[0]), self.says(args[-1])
        if rows[0].precedence == COMPARE or len(args) == 1:
            return message
        if at == 0 and self.comparing:
            fixed = f"({self.text[self.comparing[-1].start : args[0].end]}) {sign.text} {right}"
        elif at == 1 and self.token.text in INFIX and INFIX[self.token.text][0].precedence == COMPARE:
            fixed = f"{left} {sign.text} ({right} {self.token.text} …)"
        else:
            return message
        return f"{message.split(': ')[0]}: {messages.precedence(sign.text, fixed)}"
