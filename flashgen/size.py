"""Sizes as people write them: ``96KiB``, ``64 kb``, ``1.5 MiB``, ``232448``; and counts: ``1 warp``."""

from __future__ import annotations

import re

from flashgen.errors import PlanError

#: A lone letter is binary, as memory is stated: 64K of shared memory is 64 KiB.
_UNITS = {"": 1, "b": 1} | {
    prefix + end: base**power
    for power, prefix in enumerate("kmg", start=1)
    for end, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
#: Decimal, the largest first.
_PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3}
_SIZE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)


def parse_size(text: str | int) -> int:
    """Bytes of ``text``: a number with B, KB (1000), KiB or K (1024), the same of M and G, or nothing.

    Raises ``PlanError`` for other units, signs, fractions of a byte and sizes of zero.
    """
    hint = "write for example 96KiB, 96K, 64KB, 1.5MiB or 232448 (bytes)"
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise PlanError(f"{text!r} is not a size; {hint}")
    number, unit = match[1], match[2].lower()
    if unit not in _UNITS:
        raise PlanError(f"{text!r}: unknown unit {match[2]!r}; {hint}")
    size = float(number) * _UNITS[unit]
    if not size.is_integer():
        raise PlanError(f"{text!r} is {size:g} bytes, not a whole number; {hint}")
    if size < 1:
        raise PlanError(f"{text!r}: a size must be above zero; {hint}")
    return int(size)


def show_size(size: int) -> str:
    """``size`` bytes for people: ``224 KiB``, or ``65,537 B`` where KiB would need more than one digit."""
    for unit, scale in (("MiB", 1024**2), ("KiB", 1024)):
        tenths = size * 10 / scale
        if size >= scale and tenths.is_integer():
            return f"{size / scale:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size:,} B"


def show_amount(amount: float, unit: str = "", prefix: str = "G") -> str:
    """``amount`` with a decimal prefix, at most ``prefix``: ``1.08 GB``; what is small has a smaller one."""
    for p, scale in _PREFIXES.items():
        if scale <= _PREFIXES[prefix] and amount >= scale / 10:
            return f"{amount / scale:,.2f} {p}{unit}"
    return f"{amount:,.0f} {unit}".rstrip()


def counted(n: int, what: str) -> str:
    """``1 warp``, ``4 warps``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
