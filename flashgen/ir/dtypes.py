"""The dtypes of tensors and tiles, in bytes: one table.

A tile is of a named dtype, of ``elem`` (that of q, k and v) or of ``acc`` (what their products and the row
statistics are summed in).
"""

from __future__ import annotations

from collections.abc import Mapping

#: Bytes of an element, by dtype of q, k and v.
ITEM_BYTES: Mapping[str, int] = {"fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
#: Bytes of an accumulator element (the row statistics and the dots' results).
ACC_BYTES: Mapping[str, int] = {"fp16": 4, "bf16": 4, "fp32": 4, "fp64": 8}
#: Bytes of an element of a tile that says its dtype by name.
NAMED_BYTES: Mapping[str, int] = {**ITEM_BYTES, "int32": 4, "int64": 8, "bool": 1}


def item_bytes(dtype: str, elem: str) -> int:
    """Bytes of an element of a tile of ``dtype`` where q, k and v are of ``elem``."""
    if dtype == "elem":
        return ITEM_BYTES[elem]
    return ACC_BYTES[elem] if dtype == "acc" else NAMED_BYTES[dtype]
