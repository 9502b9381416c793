"""The library: functions written in the language itself. They are written out where they are called, so
nothing downstream knows them: to add one is to add an entry here. A parameter takes ints, or any number as
the operators of its body do: of ints, ``clip`` is an int.

``qpos = q + Nk - Nq`` aligns the last query with the last key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: What a parameter takes, in the words of the table of operators (``ops``).
Takes: TypeAlias = Literal["int", "num"]


@dataclass(frozen=True)
class Function:
    """A named expression with typed parameters. Without parameters it is used without parentheses."""

    name: str
    params: tuple[tuple[str, Takes], ...]
    body: str
    doc: str
    source: str = ""

    @property
    def signature(self) -> str:
        """How it is called: ``window(left, right)``."""
        return f"{self.name}({', '.join(n for n, _ in self.params)})" if self.params else self.name


def _ints(*names: str) -> tuple[tuple[str, Takes], ...]:
    return tuple((n, "int") for n in names)


def _numbers(*names: str) -> tuple[tuple[str, Takes], ...]:
    return tuple((n, "num") for n in names)


# The thresholds are ceil(8 * 16 ** (i / 8)): the bucket is 8 + floor(8 * log(n / 8) / log(128 / 8)),
# at most 15, exactly and without a logarithm.
_BUCKET = " + ".join(f"int(abs(distance) >= {n})" for n in (12, 16, 23, 32, 46, 64, 91))

_FUNCTIONS = (
    Function(
        "causal", (), "k <= qpos",
        "keys up to the query's own position; the last query sees the last key",
        "Dao 2023, FlashAttention-2 (arXiv:2307.08691), section 3.1; alignment as its version 2.1",
    ),
    Function(
        "causal_top_left", (), "k <= q",
        "keys up to the query's own row number; the first query sees the first key only",
        "torch.nn.functional.scaled_dot_product_attention, `is_causal`",
    ),
    Function(
        "window", _ints("left", "right"), "(qpos - left <= k) & (k <= qpos + right)",
        "keys at most `left` before and `right` behind the query's position, both inclusive",
        "Beltagy et al. 2020, Longformer (arXiv:2004.05150), section 3.1",
    ),
    Function(
        "prefix", _ints("n"), "k < n",
        "the first `n` keys, for every query; a prefix language model is `prefix(n) | causal`",
        "Raffel et al. 2020 (arXiv:1910.10683), section 3.2.1",
    ),
    Function(
        "padding", _ints("length"), "k < length",
        "the first `length` keys; the rest is padding", "",
    ),
    Function(
        "chunked", _ints("size"), "k // size == qpos // size",
        "keys of the query's own chunk of `size` positions",
        "Child et al. 2019, Sparse Transformers (arXiv:1904.10509), the fixed pattern's first head",
    ),
    Function(
        "dilated", _ints("step"), "(qpos - k) % step == 0",
        "keys a multiple of `step` positions away",
        "Beltagy et al. 2020, Longformer (arXiv:2004.05150), section 3.1; bound it with `window`",
    ),
    Function(
        "clip", _numbers("x", "low", "high"), "min(max(x, low), high)",
        "`x` held between `low` and `high`", "",
    ),
    Function(
        "softcap", _numbers("x", "cap"), "cap * tanh(x / cap)",
        "`x` bent smoothly into (-cap, cap)",
        "Gemma Team 2024, Gemma 2 (arXiv:2408.00118), section 2",
    ),
    Function(
        "alibi", _numbers("slope"), "slope * (k - qpos)",
        "a bias linear in the distance; add it to `s`",
        "Press et al. 2022, ALiBi (arXiv:2108.12409), section 3",
    ),
    Function(
        "relative_index", _ints("limit"), "min(max(k - qpos, -limit), limit) + limit",
        "the distance clipped to `limit`, as an index 0 … 2 * limit into a table",
        "Shaw et al. 2018 (arXiv:1803.02155), section 3.2",
    ),
    Function(
        "t5_bucket", _ints("distance"),
        f"where(abs(distance) < 8, abs(distance), 8 + {_BUCKET}) + where(distance > 0, 16, 0)",
        "the bucket 0 … 31 of a signed distance: exact below 8, then logarithmic up to 128",
        "Raffel et al. 2020, T5 (arXiv:1910.10683), section 2.1: 32 buckets, bidirectional",
    ),
)  # fmt: skip

LIBRARY: dict[str, Function] = {f.name: f for f in _FUNCTIONS}
