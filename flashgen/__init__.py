"""Declarative attention specs become fast, readable, verified GPU kernels.

    attn = flashgen.compile("specs/alibi.yaml")
    out = attn(q, k, v, slopes=slopes)

Names are imported on first use, so that ``import flashgen`` costs nothing beside torch's own import. Where
torch is already imported, the op ``flashgen::attention`` is registered at once, for graphs that name it;
otherwise ``import flashgen.runtime.op`` registers it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashgen.errors import FlashgenError, PlanError, SpecError, TensorError
    from flashgen.explain.ask import explain
    from flashgen.explore.ask import explore
    from flashgen.runtime.api import CompiledAttention, compile
    from flashgen.runtime.dropout import keep_mask
    from flashgen.runtime.layer import Attention
    from flashgen.spec.model import AttentionSpec
    from flashgen.verify.ask import verify

__version__ = "0.1.0"

__all__ = [
    "Attention",
    "AttentionSpec",
    "CompiledAttention",
    "FlashgenError",
    "PlanError",
    "SpecError",
    "TensorError",
    "compile",
    "explain",
    "explore",
    "keep_mask",
    "verify",
]

_HOME = {
    "Attention": "flashgen.runtime.layer",
    "CompiledAttention": "flashgen.runtime.api",
    "compile": "flashgen.runtime.api",
    "keep_mask": "flashgen.runtime.dropout",
    "AttentionSpec": "flashgen.spec.model",
    "FlashgenError": "flashgen.errors",
    "PlanError": "flashgen.errors",
    "SpecError": "flashgen.errors",
    "TensorError": "flashgen.errors",
}


#: Packages that can be called: each is an attribute as it is (``flashgen.ask.package``).
_CALLABLE = ("explain", "explore", "verify")


def __getattr__(name: str) -> Any:
    if name in _CALLABLE:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


if hasattr(sys.modules.get("torch"), "library"):  # not while torch itself is being imported
    importlib.import_module("flashgen.runtime.op")
