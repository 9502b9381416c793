"""The gallery's kernels as files: what stands in ``generated/``."""

from __future__ import annotations

from pathlib import Path

from flashgen.driver import emit_source, lower_spec, schedules_of
from flashgen.runtime.api import CompiledAttention
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec

TARGET = "h100"
#: The dtype shown, where a spec has it.
DTYPE = "bf16"


def kernel(path: Path, target: str = TARGET) -> str:
    """The module of one spec for ``target``: its forward and, where it trains, its backward."""
    spec = load_spec(path)
    dtype = DTYPE if DTYPE in spec.dtypes else None
    attention = CompiledAttention(spec.canonical_json(), target)
    parts = [
        (lower_spec(spec, schedule), attention.source(target, dtype, schedule).plan)
        for schedule in schedules_of(spec)
    ]
    return emit_source(*parts[0], *parts[1:]).text


def kernels(target: str = TARGET) -> dict[str, str]:
    """Every module of the gallery by file name."""
    return {f"{name}.py": kernel(path, target) for name, path in gallery().items()}
