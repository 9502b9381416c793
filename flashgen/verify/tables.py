"""Random specs with a learned table beside a mask: the kernel that sums a table has a loop of its own, in
which nothing else may change."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from flashgen.spec.model import AttentionSpec

from .atoms import SCALARS, Term, term

#: Learned tables, which a kernel of their own sums entry by entry.
TABLES: tuple[Term, ...] = (
    term("s + table[h, t5_bucket(k - qpos)]", table=(("heads", 32), "float")),
    term("s + relative[relative_index(5)]", relative=((11,), "float")),
)


@cache
def tables() -> st.SearchStrategy[AttentionSpec]:
    """Specs with a learned table beside a mask of up to two bounds by scalars."""

    def spec(table: Term, atoms: list[Term]) -> AttentionSpec:
        mask = " & ".join(f"({a.text})" for a in atoms)
        read = dict(sum((a.inputs for a in atoms), table.inputs))
        fields: dict[str, Any] = {"name": "drawn", "head_dim": 16, "score": table.text, "mask": mask}
        inputs: Any = {n: {"shape": s, "dtype": t, "grad": t == "float"} for n, (s, t) in read.items()}
        return AttentionSpec(**fields, inputs=inputs)

    some = st.lists(st.sampled_from(SCALARS), min_size=1, max_size=2, unique=True)
    return st.builds(spec, st.sampled_from(TABLES), some)
