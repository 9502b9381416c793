"""What ``flashgen tune`` measured of every candidate, kept in the cache for ``flashgen explore`` to show.

The plan that it chose is a file of its own (``runtime/tuned``), small enough to be committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashgen.resources import cache_folder

if TYPE_CHECKING:
    from .search import Ranking


def _path(file_name: str) -> Path:
    return cache_folder() / "timed" / file_name


def remember(file_name: str, rankings: Sequence[Ranking]) -> None:
    """Keep the microseconds of each kernel's candidates; ``file_name`` is the tuned plan's."""
    path = _path(file_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kernels = {r.kernel: {str(t.plan): round(t.measured_us, 2) for t in r.timed} for r in rankings}
    path.write_text(json.dumps(kernels, indent=1) + "\n", encoding="utf-8")


def timings(file_name: str) -> Mapping[str, Mapping[str, float]]:
    """Microseconds by kernel and candidate (``str(KernelPlan)``); nothing where nothing was tuned."""
    try:
        known = json.loads(_path(file_name).read_text(encoding="utf-8"))
        return {str(k): {str(p): float(us) for p, us in timed.items()} for k, timed in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
