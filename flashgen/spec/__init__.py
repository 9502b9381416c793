"""The declarative side: what an attention computes, from YAML, checked, with places in every error.

Imported on first use: a spec that stands in the cache is not parsed again, and needs none of this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .load import load_spec, load_text
    from .model import AttentionSpec, HeadDims, Heads, InputSpec

__all__ = ["AttentionSpec", "HeadDims", "Heads", "InputSpec", "load_spec", "load_text"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".load" if name.startswith("load_") else ".model", __name__), name)
