"""``flashgen.explain``: the plan of a spec on a GPU, and why, as ``flashgen explain`` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flashgen.ask.question import Question, Sizes, question

if TYPE_CHECKING:
    from flashgen.ask.question import GivenSpec
    from flashgen.plan.plan import Plan

#: Columns of a text whose reader's width is not known.
WIDTH = 110


@dataclass(frozen=True)
class Explanation:
    """A plan with its reasons: ``str`` is all of them, ``repr`` the choice. ``us`` is the predicted time."""

    plan: Plan
    us: float
    asked: Question = field(repr=False)
    words: Any = field(repr=False, compare=False)

    def __repr__(self) -> str:
        kernels = self.asked.lowered.program.kernels
        plans = "; ".join(f"{k.name}: {p}" for k, p in zip(kernels, self.plan.kernels, strict=True))
        where = f"{self.plan.target}, {self.plan.dtype}, {self.plan.schedule}"
        return f"<{self.asked.lowered.spec.name} on {where}: {self.us:,.1f} us predicted; {plans}>"

    def __str__(self) -> str:
        return str(self._console().export_text())

    def _repr_html_(self) -> str:
        return str(self._console().export_html(inline_styles=True, code_format="<pre>{code}</pre>"))

    def _console(self) -> Any:
        from io import StringIO

        from rich.console import Console

        console = Console(record=True, file=StringIO(), width=WIDTH, highlight=False)
        console.print(self.words)
        return console


def explain(
    spec: GivenSpec,
    target: str = "h100",
    *,
    backward: bool = False,
    schedule: str | None = None,
    dtype: str | None = None,
    sram: str | int | None = None,
    confirm: bool = False,
    seqlen: int = 8192,
    seqlen_q: int | None = None,
    batch: int = 4,
    heads: int | tuple[int, int] | str | None = None,
) -> Explanation:
    """The plan for ``spec`` (a path, a gallery's name or an ``AttentionSpec``) on ``target``, and why.

    ``backward`` explains the backward, derivatives included; ``schedule`` another algorithm; ``sram`` bounds
    the shared memory of a thread block (bytes, or such as "96KiB"); ``confirm`` compiles candidates.
    Raises ``SpecError`` and ``PlanError`` as ``flashgen explain`` does.
    """
    from rich.console import Group
    from rich.text import Text

    from .derivatives import derivative_lines
    from .words import explain as explained

    sizes = Sizes(seqlen, seqlen_q, batch, heads)
    asked = question(spec, target, schedule, backward, dtype, sram, sizes)
    ranked = asked.ranked() if confirm and asked.target.backend == "triton" else None
    plan = asked.plan(ranked)
    program = asked.lowered.program
    words = [explained(program, asked.target, asked.dtype, asked.workload, ranked)]
    if "backward" in program.schedule:
        words.insert(0, Text("\n".join([*derivative_lines(asked.lowered.spec), ""])))
    return Explanation(plan, plan.predicted_us, asked, Group(*words))
