"""Programs for the planner's tests."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from flashgen.backends.triton.emit.source import Source
from flashgen.driver import Lowered, emit_source, lower_spec
from flashgen.ir.program import Program
from flashgen.plan.plan import Plan
from flashgen.spec.model import AttentionSpec


@lru_cache(maxsize=64)
def lowered(
    head_dim: int = 64, mask: str | None = None, score: str = "s", schedule: str = "flash2"
) -> Lowered:
    """A spec without inputs, lowered."""
    fields: dict[str, Any] = {"name": "variant", "head_dim": head_dim, "score": score, "mask": mask}
    return lower_spec(AttentionSpec(**fields), schedule)


def program(
    head_dim: int = 64, mask: str | None = None, score: str = "s", schedule: str = "flash2"
) -> Program:
    """The program of such a spec."""
    return lowered(head_dim, mask, score, schedule).program


def module(of: Lowered, plan: Plan) -> Source:
    """Its generated module."""
    return emit_source(of, plan)
