"""The types of a spec's fields. Each refuses a wrong value with a sentence of our own: what came, what
was expected, what would work. Nothing is converted: text is never read as a number, 1 is never true."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from flashgen.expr.limits import FLOAT_LIMIT, INT_LIMIT
from flashgen.expr.words import VALUES

#: Sizes an input's dimension can have besides a number.
Symbol: TypeAlias = Literal["batch", "heads", "kv_heads", "seqlen_q", "seqlen_k"]
SYMBOLS: tuple[str, ...] = get_args(Symbol)

TEXT_LIMIT = 4096


def refuse(message: str) -> PydanticCustomError:
    """The error of a validator; ``message`` is what the user reads."""
    return PydanticCustomError("spec", "{message}", {"message": message})


def shown(value: Any) -> str:
    """``value`` as the user would recognise it, shortened."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, float):
        return f"{value:.1f}" if value.is_integer() and abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a {type(value).__name__}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean `x`?`` when a known word is close, else nothing."""
    return "".join(f"; did you mean `{found}`?" for found in close(word, known))


def close(word: str, known: Iterable[str]) -> list[str]:
    """The known word closest to ``word``, or none."""
    return difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        if isinstance(value, (bool, int, float)):
            raise refuse(f"expected text, got {shown(value)}: put it in quotes")
        how = VALUES.get(type(value).__name__)
        raise refuse(f"expected text, got {shown(value)}" + (f": {how}" if how else ""))
    if len(value) > TEXT_LIMIT:
        raise refuse(f"expected at most {TEXT_LIMIT} characters, got {len(value)}")
    if bad := [c for c in value if not (c.isprintable() or c in "\n\t")]:
        raise refuse(f"expected printable text, got the character U+{ord(bad[0]):04X}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refuse(f"expected true or false, got {shown(value)}")
    return value


def _number(value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse(f"expected a number, got {shown(value)}")
    if isinstance(value, int) and abs(value) >= INT_LIMIT:
        raise refuse("expected a whole number below 2^31; write it with a decimal point to have a float")
    if not math.isfinite(value):
        raise refuse("expected a finite number; infinity is written `inf` inside an expression")
    if abs(value) > FLOAT_LIMIT:
        raise refuse("expected a number that fp32 can hold, at most 3.4e38")
    return value


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < INT_LIMIT
        quoted = isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit()
        write = f": write {int(value)}" if whole or quoted else ""
        raise refuse(f"expected {what}, got {shown(value)}{write}")
    return value


def _score(value: Any) -> str:
    if isinstance(value, bool):
        raise refuse(f"a score is a number, got {shown(value)}; what hides keys belongs in `mask`")
    return _text(value)


def _mask(value: Any) -> str:
    if value is True:
        raise refuse("got true: leave the field out, and every query sees every key")
    if value is False:
        raise refuse(
            "got false, which hides every key from every query; a mask is a condition such as `causal`"
        )
    if isinstance(value, (int, float)):
        raise refuse(f"got {shown(value)}; a mask is a condition such as `causal` or `k < 4`")
    return _text(value)


def _rate(value: Any) -> float:
    expected = f"expected a probability from 0 up to but not 1, got {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse(f"{expected}: write {value}" if _is_rate(value) else f"{expected}; 0.1 drops a tenth")
    if not 0 <= value < 1:
        raise refuse(f"{expected}; 0.1 drops a tenth")
    return abs(float(value))  # -0.0 is 0.0


def _is_rate(text: Any) -> bool:
    """Whether a number between 0 and 1 stands in quotes."""
    return isinstance(text, str) and len(text) < 10 and re.fullmatch(r"0(\.\d+)?", text) is not None


def _count(value: Any) -> int:
    n = _whole(value, "a whole number of heads, at least 1")
    if not 1 <= n < 65536:
        raise refuse(f"expected a number of heads from 1 to 65535, got {shown(n)}")
    return n


def _head_dim(value: Any) -> int:
    n = _whole(value, "a whole number, a multiple of 8 from 8 to 256, or {qk: ..., v: ...}")
    if n % 8 or not 8 <= n <= 256:
        low, high = max(8, min(256, n // 8 * 8)), max(8, min(256, -(-n // 8) * 8))
        near = str(low) if low == high else f"{low} or {high}"
        raise refuse(f"a head dim is a multiple of 8 from 8 to 256, got {shown(n)}; nearest: {near}")
    return n


def _dim(value: Any) -> str | int:
    if isinstance(value, str) and value in SYMBOLS:
        return value
    expected = f"expected a size: one of {', '.join(SYMBOLS)}, or a whole number"
    if isinstance(value, str):
        raise refuse(f"{expected}; got {shown(value)}{nearest(value, SYMBOLS)}")
    n = _whole(value, expected[len("expected ") :])
    if not 1 <= n < INT_LIMIT:
        raise refuse(f"{expected} from 1 to 2^31 - 1; got {shown(n)}")
    return n


_NONE: Mapping[str, str] = MappingProxyType({})


def choice(*words: str, same: Mapping[str, str] = _NONE, other: Mapping[str, str] = _NONE) -> BeforeValidator:
    """A validator for one of ``words``; ``same`` are other names of some, ``other`` what is said of names
    that mean something else. A dtype of torch or numpy goes by its name."""

    def check(value: Any) -> Any:
        named = str(value) if type(value).__name__ == "dtype" else value
        if not isinstance(named, str):
            raise refuse(f"expected one of {', '.join(words)}; got {shown(value)}")
        found = same.get(named, named)
        if found not in words:
            near = f": write {other[named]}" if named in other else nearest(named, words)
            raise refuse(f"expected one of {', '.join(words)}; got {shown(named)}{near}")
        return found

    return BeforeValidator(check)


def listed(what: str, most: int, least: int = 1) -> BeforeValidator:
    """A validator for a list of ``least`` to ``most`` entries; ``what`` names an example."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise refuse(f"expected a list such as {what}, got {shown(value)}")
        if not least <= len(value) <= most:
            raise refuse(f"expected a list of {least} to {most} entries such as {what}, got {len(value)}")
        return tuple(value)

    return BeforeValidator(check)


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    for i, entry in enumerate(value):
        if entry in value[:i]:
            raise refuse(f"{entry} is listed twice")
    return value


_V = TypeVar("_V")


class FrozenDict(dict[str, _V]):
    """A dict that cannot be changed, so that a spec stays what was checked."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a spec is frozen: make another with spec.replace(...)")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def mapping(what: str) -> BeforeValidator:
    """A validator for a mapping; ``what`` is an example."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise refuse(f"expected a mapping such as {what}, got {shown(value)}")
        return value

    return BeforeValidator(check)


Distinct = AfterValidator(_distinct)
Frozen = AfterValidator(FrozenDict)
Text = Annotated[str, BeforeValidator(_text)]
Score = Annotated[str, BeforeValidator(_score)]
Mask = Annotated[str, BeforeValidator(_mask)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Number = Annotated[float, BeforeValidator(lambda v: float(_number(v)))]
Rate = Annotated[
    float, BeforeValidator(_rate), Field(json_schema_extra={"minimum": 0, "exclusiveMaximum": 1})
]
Constant = Annotated[bool | int | float, BeforeValidator(lambda v: v if isinstance(v, bool) else _number(v))]
Count = Annotated[int, BeforeValidator(_count), Field(json_schema_extra={"minimum": 1, "maximum": 65535})]
HeadDim = Annotated[
    int, BeforeValidator(_head_dim), Field(json_schema_extra={"minimum": 8, "maximum": 256, "multipleOf": 8})
]
Dim = Annotated[Symbol | Annotated[int, Field(ge=1)], BeforeValidator(_dim)]
