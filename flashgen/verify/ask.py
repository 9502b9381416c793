"""``flashgen.verify``: random calls of a spec compared with the oracle, as ``flashgen verify`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashgen.ask.question import spec_of

from .check import Backend
from .search import Report
from .search import verify as search

if TYPE_CHECKING:
    from flashgen.ask.question import GivenSpec


def verify(
    spec: GivenSpec,
    backend: Backend = "cpu",
    *,
    examples: int = 100,
    seed: int = 0,
    gradients: bool = True,
    schedule: str = "flash2",
) -> Report:
    """Draw ``examples`` calls of ``spec`` (a path, a gallery's name or an ``AttentionSpec``) and compare
    ``backend`` with the dense fp64 oracle on each, gradients too where the spec trains.

    A failure is shrunk to a reproducer; the same ``seed`` draws the same calls. Raises ``SpecError``.
    """
    return search(spec_of(spec), backend, examples, seed, gradients=gradients, schedule=schedule)
