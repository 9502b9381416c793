"""Whether a target's numbers can be those of a GPU, and what is wrong with a file in its author's terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flashgen.errors import PlanError

if TYPE_CHECKING:
    from .target import Target

#: Numbers that may be zero; all others are above it.
MAY_BE_ZERO = frozenset({"smem_reserved_per_block", "latency", "launch", "call"})
#: Units that are counted, so that values are whole.
WHOLE = frozenset({"SM", "bytes", "32-bit registers", "threads", "blocks", "rows"})
#: No number of a GPU is larger, whatever its unit.
MOST = 1e15
#: The oldest compute capability with matrix instructions that Triton's compiler still knows.
OLDEST_SM = 75
#: GPUs that are asked for and are older.
OLDER = {"v100": "sm_70", "titanv": "sm_70", "p100": "sm_60", "p40": "sm_61", "gtx1080": "sm_61"}
WARP_SIZES = (32, 64)
_KINDS = {
    "bool": "true or false",
    "dict": "fields, one a line",
    "float": "a number",
    "int": "a whole number",
    "model": "fields, one a line",
    "string": "text",
}


def in_words(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors: the place, what is there, and what was expected."""
    where, kind = ".".join(map(str, error["loc"])), str(error["type"])
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where}: there is no such field"
    expected = error.get("ctx", {}).get("expected") or _KINDS.get(kind.split("_")[0], error["msg"])
    found = "nothing" if error["input"] is None else repr(error["input"])
    return f"{where} is {found}, expected {expected}" if where else f"holds {found}, expected {expected}"


def check_values(target: Target) -> None:
    """Raises ``PlanError`` naming the first number that no GPU has, and what was expected."""
    for name, number in target.numbers.items():
        expected = _expected(name, number.value, number.unit)
        if expected:
            raise PlanError(f"numbers.{name} is {number.value:g} {number.unit}, expected {expected}")
    if target.backend == "interpreter":
        return
    _check_arch(target.arch)
    if target.warp_size not in WARP_SIZES:
        raise PlanError(f"warp_size is {target.warp_size}, expected {' or '.join(map(str, WARP_SIZES))}")
    for least, most in (("smem_per_block", "smem_per_sm"), ("registers_per_thread", "registers_per_sm")):
        if {least, most} <= set(target.numbers) and target.number(least) > target.number(most):
            raise PlanError(
                f"numbers.{least} is {target.number(least):g}, expected at most {most}, "
                f"{target.number(most):g}"
            )


def _expected(name: str, value: float, unit: str) -> str:
    """What ``value`` should have been; nothing where it can be right."""
    if not math.isfinite(value):
        return "a finite number"
    if value > MOST:
        return f"at most {MOST:g}"
    if value < 0 or (value == 0 and name not in MAY_BE_ZERO):
        return "zero or more" if name in MAY_BE_ZERO else "more than zero"
    if unit in WHOLE and not value.is_integer():
        return "a whole number"
    return "a share: at most 1" if unit.startswith("share") and value > 1 else ""


def _check_arch(arch: str) -> None:
    number = re.fullmatch(r"sm_(\d{2,3})", arch, re.ASCII)
    if number is None and re.fullmatch(r"gfx[0-9a-f]{3,5}", arch, re.ASCII) is None:
        raise PlanError(f"arch is {arch!r}, expected sm_NN, such as sm_90, or gfxNNN, such as gfx942")
    if number is not None and int(number[1]) < OLDEST_SM:
        raise PlanError(f"arch is {arch!r}, {too_old()}")


def too_old() -> str:
    """Why there are no kernels for GPUs older than ``OLDEST_SM``, and what works on them."""
    return (
        f"and Triton compiles for sm_{OLDEST_SM} or later: older GPUs have neither bf16 nor asynchronous "
        "copies. What works there: --target cpu, the same program interpreted, to check a spec; and torch's "
        "scaled_dot_product_attention. The oldest target is t4 (sm_75)"
    )
