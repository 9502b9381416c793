"""What a sound spec could say better. Advice never changes what is built."""

from __future__ import annotations

import re

from flashgen.expr.hints import hints
from flashgen.expr.nodes import reads

from .model import AttentionSpec


def advice(spec: AttentionSpec) -> list[str]:
    """Hints for the author of ``spec``, each one sentence."""
    found = [f"score: {h}" for h in hints(spec.score_expr)]
    exprs = [e for e in (spec.score_expr, spec.mask_expr, spec.sink_expr) if e is not None]
    read = {r.name for e in exprs for r in reads(e)}
    found += [f"inputs.{n} is never read: leave it out" for n in spec.inputs if n not in read]
    words = set(re.findall(r"\w+", f"{spec.score} {spec.mask or ''} {spec.sink or ''}"))
    found += [f"constants.{n} is never used: leave it out" for n in spec.constants if n not in words]
    return found
