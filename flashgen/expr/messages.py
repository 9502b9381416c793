"""What is said about an expression that is not in the language: what is wrong and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from .nodes import Type
from .scope import MASK_SCOPE, SCORE_SCOPE, SINK_SCOPE
from .words import NAMES, instead

A: dict[Type, str] = {"bool": "a condition", "int": "an integer", "float": "a float"}

#: How much of a name must agree for it to be taken for another.
NEAR = 0.65
#: The expressions of a spec, by what they may read.
_EXPRESSIONS = {"score": SCORE_SCOPE, "mask": MASK_SCOPE, "sink": SINK_SCOPE}
#: The size of a dimension that an index variable goes over.
_SIZES = {"b": "batch", "h": "heads", "hkv": "kv_heads", "q": "seqlen_q", "k": "seqlen_k"}


def clip(text: str, limit: int = 40) -> str:
    """``text`` on one line, short enough for a message."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def unknown(name: str, known: Iterable[str], what: str = "name", otherwise: str = "") -> str:
    """A message for an unknown ``name``, with the nearest of the ``known`` ones; where none is near, with
    ``otherwise`` or all of them."""
    message = f"unknown {what} `{clip(name)}`"
    if name in NAMES:
        return f"{message}: here it is {NAMES[name]}"
    if what != "input" and (write := instead(name)):
        return f"{message}: {write}"
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=2, cutoff=NEAR) or [n for n in names if n == name.lower()]
    if near:
        return f"{message}: did you mean {' or '.join(f'`{n}`' for n in near)}?"
    if otherwise:
        return f"{message}: {otherwise}"
    return f"{message}; known here: {', '.join(names)}"


def declare(name: str, variables: Iterable[str]) -> str:
    """How a spec brings ``name`` into its expressions."""
    name = clip(name)
    return (
        f"declare a number as `constants: {{{name}: 64}}`, a tensor as "
        f"`inputs: {{{name}: {{shape: [heads]}}}}`; the variables here are {', '.join(variables)}"
    )


def undeclared(name: str, declared: Iterable[str], index: Sequence[str]) -> str:
    """For ``name[…]`` where no input has that name; ``index``: the plain names it is read by."""
    shape = [_SIZES.get(i, "32") for i in index] or ["heads"]
    how = f"declare it, as in `inputs: {{{clip(name)}: {{shape: [{', '.join(shape[:5])}]}}}}`"
    if declared := sorted(declared):
        how += f"; declared are {', '.join(declared)}"
    return unknown(name, declared, "input", how)


def not_here(name: str, variables: Mapping[str, Type]) -> str | None:
    """For a variable of other expressions of a spec than the one that has ``variables``; else None."""
    homes = [f"{kind}s" for kind, scope in _EXPRESSIONS.items() if name in scope.variables]
    here = [kind for kind, scope in _EXPRESSIONS.items() if scope.variables == variables]
    if not homes or not here:
        return None
    may_read = f"a {here[0]} may read {', '.join(variables)}, and inputs and constants"
    return f"`{name}` exists in {' and '.join(homes)} only; {may_read}"


def unwanted(got: Type, want: Type) -> str:
    """For a whole expression of type ``got`` where ``want`` is needed."""
    how = {
        ("float", "bool"): "a number is wanted here; conditions belong in `mask` or `where(condition, a, b)`",
        ("int", "bool"): "an integer is wanted here; write `int(condition)` or `where(condition, a, b)`",
        ("bool", "int"): "a condition is wanted here: compare it, as in `x != 0`",
        ("bool", "float"): "a condition is wanted here: compare it, as in `x > 0`",
        ("int", "float"): "an integer is wanted here; `floor(x)` makes one",
    }
    return f"this is {A[got]}, but {how[want, got]}"


def mistyped(op: str, shown: str, argument: str, takes: str, got: Type) -> str:
    """For an ``argument`` (its text) of type ``got`` given to ``op`` (written ``shown``)."""
    wants = {"bool": "conditions", "int": "integers"}.get(takes, "numbers")
    says = f"`{shown}` takes {wants}, but `{clip(argument)}` is {A[got]}"
    if op == "int":
        return f"{says}; `floor(x)` makes an integer of a float" if got == "float" else says
    if takes == "bool":
        return f"{says}: compare it, as in `x != 0`"
    if op == "where":
        return f"{says}; choose between conditions with `(c & a) | (~c & b)`"
    if op == "floordiv" and got == "float":
        return f"{says}; `floor(a / b)` divides floats"
    if takes == "int" and got == "float":
        return f"{says}; `floor(x)` makes an integer"
    return f"{says}; `where(condition, 1, 0)` makes a number"


#: What several arguments are called that are all taken.
_KINDS = {"bool": ("a condition", "two conditions"), "int": ("an integer", "two integers")}


def unlike(sign: str, takes: Sequence[str], given: Sequence[tuple[str, Type]]) -> str:
    """For a ``sign`` that has a meaning for arguments of each of ``takes``, but not for those ``given`` (text
    and type)."""
    kinds = [_KINDS.get(t, ("a number", "two numbers"))[len(given) > 1] for t in takes]
    shown = " and ".join(f"`{clip(text)}` is {A[t]}" for text, t in given)
    says = f"`{sign}` takes {' or '.join(kinds)}, but {shown}"
    if sign == "~":
        return f"{says}: put a comparison in parentheses, as in `~(k < 4)`"
    if "num" in takes:
        return f"{says}: `int(condition)` makes a number of a condition, `x != 0` a condition of a number"
    power = "; a power is written `x ** 2`" if sign == "^" else ""
    if any(t == "float" for _, t in given):
        return f"{says}: compare it, as in `x > 0`; `floor(x)` makes an integer{power}"
    return f"{says}: compare the integer, as in `x != 0`; `int(condition)` makes one of a condition{power}"


def unclear_not(shown: str, compares: str, rest: str) -> str:
    """For ``~k < 4``, in which the ``~`` takes ``k`` alone; ``rest`` is ``< 4``."""
    inner = clip(shown.removeprefix("~").strip())
    return (
        f"`~` binds tighter than `{compares}`: for a condition write `~({inner} {rest})`, for bits "
        f"`(~{inner}) {rest}`"
    )


def unclear_bits(shown: str, sign: str, first: str, second: str) -> str:
    """For ``k < 4 | q < 8``, in which the ``|`` takes ``4`` and ``q``."""
    return (
        f"comparisons bind looser than `{sign}`, so it takes `{clip(shown)}` alone: for conditions write "
        f"`({clip(first)}) {sign} ({clip(second)})`, for bits `({clip(shown)})`"
    )


def misgiven(name: str, function: str, argument: str, takes: str, got: Type) -> str:
    """For an ``argument`` (its text) of type ``got`` given as ``name`` to a library ``function``."""
    says = f"`{name}` of `{function}` is {A['int'] if takes == 'int' else 'a number'}"
    how = "" if got == "bool" else "; `floor(x)` makes an integer"
    return f"{says}, but `{clip(argument)}` is {A[got]}{how}"


def unexpected(found: str, before: str) -> str:
    """For a token that cannot follow ``before`` (its text)."""
    after = f"after `{clip(before)}`"
    if found == "(":
        return f"{after} a `(` has no meaning: only named functions are called; a product needs `*`"
    if found == "[":
        return f"{after} a `[` has no meaning: only inputs are read by index"
    if found == ",":
        return f"a `,` {after} has no meaning: an expression has one value"
    if found in (")", "]"):
        return f"`{found}` {after} closes nothing"
    return f"expected an operator {after}, found `{clip(found)}`"


def precedence(symbol: str, fixed: str) -> str:
    """For ``k < 4 | causal``, where the ``|`` takes the 4."""
    return f"comparisons bind looser than `{symbol}`, so put them in parentheses: `{clip(fixed, 80)}`"


def too_large(shown: str, most: int) -> str:
    """That 64 bits might not hold what ``shown`` comes to."""
    return (
        f"`{clip(shown)}` can come to {most:.1e}, and integers are computed exactly in 64 bits, up to 9.2e18 "
        "(inputs hold 32); reduce a part with `% m` or `clip(x, low, high)`, or use floats: `float(x) * y`"
    )
