"""Unquoted YAML scalars: what they are, and why some are refused.

YAML 1.1 reads ``no`` as false, ``010`` as 8, ``1_000`` as 1000, ``1:30`` as 90 and ``2001-01-01`` as a
date; YAML 1.2's core schema (section 10.3.2) reads most of them as text. What readers disagree on is
refused, with what to write instead.
"""

from __future__ import annotations

import re
from typing import Any

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_OTHER_BOOL = re.compile(r"(?i)y|n|yes|no|on|off|true|false")
_OTHER_NULL = re.compile(r"(?i)null|~")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+(\.[0-9_]*)?")
_BASED = re.compile(r"[-+]?0[xob][0-9a-fA-F_]+")
_UNDERSCORED = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]{1,2})+(\.[0-9]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")
_SPECIAL = re.compile(r"(?i)[-+]?\.(inf|nan)")


def plain(text: str) -> tuple[Any, str | None]:
    """The value of an unquoted scalar, and what is wrong with writing it so, or None."""
    if text == "null":
        return None, None
    if text in ("true", "false"):
        return text == "true", None
    if _INT.fullmatch(text):
        if len(text) > 20:
            return 0, "a number of more than 20 digits; no field takes one"
        return int(text), None
    if _FLOAT.fullmatch(text):
        return float(text), None
    said = f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"
    if _OTHER_BOOL.fullmatch(text):
        truth = text.lower() in ("y", "yes", "on", "true")
        value = "true" if truth else "false"
        # A single letter may well be meant as a name.
        meant = text if len(text) == 1 else truth
        return meant, f"{said} is {value} to some YAML readers and text to others: write {value}, or '{text}'"
    if _OTHER_NULL.fullmatch(text):
        return text, f"{said} is nothing to some YAML readers: write null, or '{text}' for text"
    if _LEADING_ZERO.fullmatch(text):
        tail = text.lstrip("+-0").replace("_", "")
        number = "0" + tail if tail[:1] in ("", ".") else tail
        return text, f"{said} is octal to some YAML readers: write {number}, or '{text}' for text"
    if _BASED.fullmatch(text):
        try:
            number = str(int(text, 0))
        except ValueError:
            number = "a decimal number"
        return text, f"{said} is a number to some YAML readers only: write {number}, or '{text}' for text"
    if "_" in text and _UNDERSCORED.fullmatch(text):
        return text, f"{said} is a number to some YAML readers only: write {text.replace('_', '')}"
    if _SEXAGESIMAL.fullmatch(text):
        return text, f"{said} is base 60 to some YAML readers: write a decimal number, or '{text}' for text"
    if _DATE.fullmatch(text):
        return text, f"{said} is a date to some YAML readers: write '{text}' for text"
    if _SPECIAL.fullmatch(text):
        return text, "numbers in a spec are finite; infinity is written `inf` inside an expression"
    return text, None
