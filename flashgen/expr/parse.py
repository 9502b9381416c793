"""Text to a typed expression: a Pratt parser over our own tokens, and nothing else.

Precedence is Python's: comparisons bind loosest, then ``|``, ``&``, ``+ -``, ``* / // %``, unary
``- ~``, ``**``. Powers and library functions are written out here, so the tree holds only operators of
the table. Limits on characters, nodes, depth and literals make every text cheap to refuse.
"""

from __future__ import annotations

from functools import lru_cache

from flashgen.errors import ExprError

from . import build, messages
from .cursor import MAX_DEPTH, Cursor, Part
from .library import LIBRARY, Function
from .nodes import FALSE, TRUE, Const, Expr, Read, Type, Var, children, integer, real, walk
from .ops import INFIX, OPS
from .scope import MASK_SCOPE, SCORE_SCOPE, InputType, Scope
from .tokens import Token

__all__ = ["FUNCTIONS", "MASK_SCOPE", "SCORE_SCOPE", "InputType", "Scope", "parse"]

MAX_POWER = 8
#: What is written out by operators of the table: how it is written, what it takes and gives, its meaning.
SHORTHANDS = (
    ("a < b <= c", "number", "bool", "a chain of comparisons, `(a < b) & (b <= c)`"),
    ("x ** n", "number", "number", f"the product of `n` factors `x`; `n` is a literal 0 … {MAX_POWER}"),
)
#: The operators that are called by name.
FUNCTIONS = {op.name: op for op in OPS.values() if op.public and not op.symbol}
_LITERALS: dict[str, Const] = {"True": TRUE, "False": FALSE, "inf": real(float("inf"))}
_COMPARE = INFIX["<"].precedence
_UNARY = OPS["neg"].precedence


def parse(text: str, scope: Scope, *, want: Type) -> Expr:
    """The expression ``text`` with type ``want``; an int is promoted where a float is wanted.

    Raises ``ExprError`` with the offset of what is wrong.
    """
    part = _Parser(text, scope).whole()
    e = build.promote(part.expr) if want == "float" else part.expr
    if e.type != want:
        raise ExprError(messages.unwanted(e.type, want), part.start)
    return e


class _Parser(Cursor):
    def __init__(self, text: str, scope: Scope) -> None:
        super().__init__(text)
        self.scope = scope
        self.nesting = 0

    def whole(self) -> Part:
        if not self.token.text:
            raise ExprError("the expression is empty", 0)
        part = self.expression(0)
        if self.token.text:
            raise ExprError(messages.unexpected(self.token.text, self.says(part)), self.token.offset)
        return part

    def expression(self, least: int) -> Part:
        """Everything that binds at least as tightly as ``least``."""
        self.nesting += 1
        if self.nesting > MAX_DEPTH:
            raise ExprError(f"nested more than {MAX_DEPTH} deep", self.token.offset)
        outer = self.comparing
        if least == 0:  # in brackets of its own
            self.comparing = []
        left = self.prefix()
        while (op := INFIX.get(self.token.text)) and op.precedence >= least:
            if op.precedence == _COMPARE:
                left = self.comparisons(left)
            else:
                sign = self.advance()
                left = self.apply(op.name, [left, self.expression(op.precedence + 1)], sign)
        self.nesting -= 1
        self.comparing = outer
        return left

    def comparisons(self, left: Part) -> Part:
        """``a <= b < c`` means ``(a <= b) & (b < c)``."""
        whole: Part | None = None
        while (op := INFIX.get(self.token.text)) and op.precedence == _COMPARE:
            sign = self.advance()
            self.comparing.append(left)
            right = self.expression(_COMPARE + 1)
            self.comparing.pop()
            link = self.apply(op.name, [left, right], sign)
            whole = self.apply("and", [whole, link], sign) if whole else link
            left = right
        assert whole is not None
        return whole

    def prefix(self) -> Part:
        token = self.token
        if self.take("-"):
            part = self.expression(_UNARY)
            if isinstance(part.expr, Const) and part.expr.type != "bool":
                return Part(Const(-part.expr.value, part.expr.type), token.offset, part.end)
            return self.apply("neg", [part], token)
        if self.take("~"):
            return self.apply("not", [self.expression(_UNARY)], token)
        if self.take("+"):
            raise ExprError("a sign `+` has no meaning: leave it out", token.offset)
        return self.power(self.primary())

    def power(self, base: Part) -> Part:
        """``base ** n``, as products."""
        sign = self.token
        if not self.take("**"):
            return base
        if base.expr.type == "bool":
            raise ExprError(f"`**` takes numbers, but `{self.says(base)}` is a condition", base.start)
        exponent, found = self.token, self.found()
        if exponent.kind != "int" or int(exponent.text) > MAX_POWER:
            limit = f"the exponent of `**` is a literal 0 … {MAX_POWER}, found {found}"
            raise ExprError(f"{limit}; for other powers write `exp(y * log(x))`", exponent.offset)
        self.advance()
        if self.sees("**"):
            raise ExprError("`x ** a ** b` has no meaning here: put parentheses", self.token.offset)
        n = int(exponent.text)
        if n == 0:
            return Part(integer(1) if base.expr.type == "int" else real(1), base.start, exponent.end)
        out = base
        for _ in range(n - 1):
            out = self.apply("mul", [out, base], sign)
        return Part(out.expr, base.start, exponent.end, out.size, out.depth)

    def primary(self) -> Part:
        token = self.token
        if token.kind == "int":
            return Part(integer(int(self.advance().text)), token.offset, token.end)
        if token.kind == "float":
            return Part(real(float(self.advance().text)), token.offset, token.end)
        if token.kind == "name":
            return self.name(self.advance())
        if self.take("("):
            if self.sees(")"):
                raise ExprError("`()` is empty", token.offset)
            part = self.expression(0)
            closed = self.expect(")", token)
            return Part(part.expr, token.offset, closed.end, part.size, part.depth)
        if self.sees("["):
            raise ExprError("there are no lists; `[` follows an input's name: `slopes[h]`", token.offset)
        raise ExprError(f"expected a value, found {self.found()}", token.offset)

    def name(self, token: Token) -> Part:
        """A name, with its arguments or indices."""
        word, scope = token.text, self.scope
        if word in _LITERALS:
            return self.plain(token, _LITERALS[word], "a literal")
        if word in scope.variables:
            return self.plain(token, Var(word, scope.variables[word]), "a variable")
        if word in scope.constants:
            return self.plain(token, _constant(scope.constants[word]), "a constant")
        if word in scope.inputs:
            return self.read(token, scope.inputs[word])
        if word in FUNCTIONS or word in scope.functions:
            if self.sees("["):
                raise ExprError(f"`{word}` is a function: arguments stand in `( )`", self.token.offset)
            if word in FUNCTIONS:
                return self.operator(token)
            return self.library(token, scope.functions[word])
        raise ExprError(self.unknown(word), token.offset)

    def unknown(self, word: str) -> str:
        """What is said about a name that means nothing here; what stands behind it tells its kind."""
        scope, functions = self.scope, [*FUNCTIONS, *self.scope.functions]
        if said := messages.not_here(word, scope.variables):
            return said
        if self.sees("("):
            return messages.unknown(word, functions, "function")
        if self.sees("["):
            return messages.undeclared(word, scope.inputs, self.ahead())
        names = [*scope.variables, *scope.constants, *scope.inputs, *functions, *_LITERALS]
        return messages.unknown(word, names, otherwise=messages.declare(word, scope.variables))

    def plain(self, token: Token, e: Expr, what: str) -> Part:
        """A name that takes nothing."""
        if self.sees("("):
            says = f"`{token.text}` is {what}, not a function; a product needs `*`"
            raise ExprError(says, self.token.offset)
        if self.sees("["):
            raise ExprError(f"`{token.text}` is {what}, not an input: it has no elements", self.token.offset)
        return Part(e, token.offset, token.end)

    def arguments(self, closer: str) -> tuple[list[Part], Token]:
        """``x, y, …`` up to ``closer``; the opening bracket comes next."""
        opened = self.advance()
        parts: list[Part] = []
        while not self.sees(closer):
            if self.sees("*", "**"):
                raise ExprError("arguments are given one by one: nothing is unpacked", self.token.offset)
            parts.append(self.expression(0))
            if not self.take(","):
                break
        return parts, self.expect(closer, opened)

    def read(self, token: Token, kind: InputType) -> Part:
        """``input[index, …]``; an input of rank 0 is written without brackets."""
        word = token.text
        example = f"`{word}[{', '.join(('h', 'b, k', 'h, q, k', 'b, h, q, k')[kind.rank - 1 : kind.rank])}]`"
        if self.sees("("):
            raise ExprError(f"`{word}` is an input: read it by index, as in {example}", self.token.offset)
        if kind.rank == 0:
            return self.plain(token, Read(word, (), kind.type), "an input of one number")
        if not self.sees("["):
            indices = "one index" if kind.rank == 1 else f"{kind.rank} indices"
            raise ExprError(
                f"`{word}` is an input with {indices}: read an element, as in {example}", token.offset
            )
        index, closed = self.arguments("]")
        if len(index) != kind.rank:
            raise ExprError(
                f"`{word}` takes {kind.rank} indices, got {len(index)}, as in {example}", token.offset
            )
        for part in index:
            if part.expr.type != "int":
                remedy = "floor(x)" if part.expr.type == "float" else "int(condition)"
                says = f"an index is an integer, but `{self.says(part)}` is {messages.A[part.expr.type]}"
                raise ExprError(f"{says}; `{remedy}` makes one", part.start)
            if isinstance(part.expr, Const) and part.expr.value < 0:
                raise ExprError("an index counts from 0 and is never negative", part.start)
        return self.node(Read(word, tuple(p.expr for p in index), kind.type), index, token.offset, closed.end)

    def operator(self, token: Token) -> Part:
        """A function of the table."""
        op = OPS[token.text]
        if not self.sees("("):
            raise ExprError(f"`{op.name}` is a function: write `{op.usage}`", token.offset)
        args, closed = self.arguments(")")
        if len(args) != len(op.takes):
            nest = f"; nest them: `{op.name}(a, {op.name}(b, c))`" if op.name in ("min", "max") else ""
            says = f"`{op.usage}` takes {_count(len(op.takes))}, got {len(args)}"
            raise ExprError(says + (nest if len(args) > 2 else ""), token.offset)
        return self.apply(op.name, args, token, closed.end)

    def library(self, token: Token, f: Function) -> Part:
        """A library function, written out."""
        args: list[Part] = []
        end = token.end
        if self.sees("("):
            args, closed = self.arguments(")")
            end = closed.end
        if len(args) != len(f.params):
            raise ExprError(f"`{f.signature}` takes {_count(len(f.params))}, got {len(args)}", token.offset)
        values: dict[str, Expr] = {}
        for part, (name, takes) in zip(args, f.params, strict=True):
            got = part.expr.type
            if got != takes and (takes == "int" or got == "bool"):
                raise ExprError(messages.misgiven(name, f.signature, self.says(part), takes, got), part.start)
            values[name] = part.expr
        body = _body(f, tuple(e.type for e in values.values()))
        for leaf in walk(body):
            if isinstance(leaf, Var) and leaf.name not in values and leaf.name not in self.scope.variables:
                raise ExprError(f"`{f.name}` uses `{leaf.name}`, which has no meaning here", token.offset)
        # The size is summed before the body is written out, so that no text makes a huge tree.
        sizes = {name: part.size for part, (name, _) in zip(args, f.params, strict=True)}
        total = sum(sizes.get(n.name, 1) if isinstance(n, Var) else 1 for n in walk(body))
        self.limit(total, 0, token.offset)
        e = build.written_out(body, values)
        size, depth = _measure(e)
        self.limit(size, depth, token.offset)
        for n in walk(e):
            if text := build.unsound(n):
                raise ExprError(f"in `{f.signature}`: {text}", token.offset)
        return Part(e, token.offset, end, size, depth)


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "1 argument" if n == 1 else f"{n} arguments"


def _measure(e: Expr) -> tuple[int, int]:
    parts = [_measure(c) for c in children(e)]
    return 1 + sum(s for s, _ in parts), 1 + max((d for _, d in parts), default=0)


def _constant(value: bool | int | float) -> Const:
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return integer(value) if isinstance(value, int) else real(value)


@lru_cache(maxsize=256)
def _body(f: Function, types: tuple[Type, ...]) -> Expr:
    """A library function's body for arguments of these types; its parameters are variables in it. A body may
    use the library."""
    params = {name: given for (name, _), given in zip(f.params, types, strict=True)}
    scope = Scope({**MASK_SCOPE.variables, **params}, functions=LIBRARY)
    return _Parser(f.body, scope).whole().expr
