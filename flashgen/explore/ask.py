"""``flashgen.explore``: the explorer's page as an object, for a file or a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flashgen.ask.question import Sizes, question
from flashgen.errors import FlashgenError, PlanError

from .data import Question, page_data
from .page import page

if TYPE_CHECKING:
    from flashgen.ask.question import GivenSpec


@dataclass(frozen=True)
class Exploration:
    """One page on what SRAM and tiles do to a spec on a GPU; ``html`` needs no network."""

    name: str
    target: str
    html: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page. Raises ``FlashgenError`` where it cannot be written."""
        path = Path(path)
        try:
            path.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None
        return path

    def __repr__(self) -> str:
        return (
            f"<{self.name} on {self.target}: a page of {len(self.html.encode()) // 1024:,} KiB; "
            f'save("{self.name}.html") writes it>'
        )

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="800"></iframe>'


def explore(
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
) -> Exploration:
    """The page that ``flashgen explore`` writes, for ``spec`` (a path, a gallery's name or an
    ``AttentionSpec``) on ``target``; arguments as of ``flashgen.explain``.

    Raises ``SpecError``, and ``PlanError`` for a target without SRAM.
    """
    sizes = Sizes(seqlen, seqlen_q, batch, heads)
    asked = question(spec, target, schedule, backward, dtype, sram, sizes)
    if not asked.target.gpu:
        raise PlanError(f"{asked.target.name} has no SRAM to explore: name a GPU, such as h100")
    ranked = asked.ranked() if confirm else None
    data = page_data(Question(asked.lowered, asked.target, asked.dtype, asked.workload), ranked)
    return Exploration(asked.lowered.spec.name, asked.target.name, page(data))
