"""The gallery's kernels as files: what stands in ``generated/``."""

from __future__ import annotations

from pathlib import Path

from flashgen.runtime.api import Attention
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec

TARGET = "h100"
#: The dtype shown, where a spec has it.
DTYPE = "bf16"


def kernel(path: Path, target: str = TARGET, schedule: str = "flash2") -> str:
    """The module of one spec for ``target``."""
    spec = load_spec(path)
    dtype = DTYPE if DTYPE in spec.dtypes else None
    return Attention(spec.canonical_json(), target).source(target, dtype, schedule).text


def kernels(target: str = TARGET) -> dict[str, str]:
    """Every module of the gallery by file name, forward and backward."""
    schedules = {"": "flash2", "_backward": "backward"}
    return {
        f"{name}{suffix}.py": kernel(path, target, schedule)
        for name, path in gallery().items()
        for suffix, schedule in schedules.items()
    }
