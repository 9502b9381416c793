"""The table of cases and goals (``cases.yaml``) as data classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec


@dataclass(frozen=True)
class Shape:
    """The sizes of one call; queries and keys have the same length."""

    B: int
    Hq: int
    Hkv: int
    N: int

    def __str__(self) -> str:
        heads = f"{self.Hq}" if self.Hq == self.Hkv else f"{self.Hq}/{self.Hkv}"
        return f"B={self.B} H={heads} N={self.N}"


@dataclass(frozen=True)
class Case:
    """One row: a spec at a shape, with the goal of each figure.

    ``goals``: peer -> least acceptable (peer's time) / (our time), or None for a peer without a goal.
    ``per_flop_of`` / ``at_most``: bound on the time per FLOP relative to another head dim of the same run.
    ``at_most_us``: bound on our own time.
    ``memory``: peer -> least acceptable (peer's extra memory) / (ours).
    """

    suite: str
    spec_name: str
    spec: AttentionSpec
    shape: Shape
    goals: Mapping[str, float | None] = field(default_factory=dict)
    per_flop_of: int | None = None
    at_most: float | None = None
    at_most_us: float | None = None
    sdpa: bool = False
    memory: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How the case is called in tables."""
        return f"{self.spec_name} D={self.spec.d_qk} {self.shape}"


def table() -> dict[str, Any]:
    """The raw table."""
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("cases.yaml"))
    return loaded


def spec_of(name: str, changes: Mapping[str, Any] | None = None) -> AttentionSpec:
    """The gallery's spec ``name`` with some fields set to other values (and checked again)."""
    spec = load_spec(gallery()[name])
    return spec.replace(**changes) if changes else spec


#: The suites whose cases are head dim x length x mask at one number of tokens.
GRIDS = ("forward", "backward", "dropout")


def grid(suite: str, tiny: bool = False) -> list[Case]:
    """The cases of a suite of ``GRIDS``."""
    t = table()
    seen = set()
    sizes = t["smaller"] if tiny else t[suite]
    cases = []
    for row in t[suite]["rows"]:
        d, heads = row["head_dim"], max(sizes["width"] // row["head_dim"], 1)
        spec = spec_of(row["spec"], {"head_dim": d, **row.get("set", {})})
        for n in [t["smaller"]["N"]] if tiny else row["seqlens"]:
            shape = Shape(max(sizes["tokens"] // n, 1), heads, heads, n)
            if (row["spec"], d, n) in seen:  # rows that differ in goals only, in a dry run
                continue
            seen.add((row["spec"], d, n))
            cases.append(
                Case(
                    suite,
                    row["spec"],
                    spec,
                    shape,
                    row["goals"],
                    row.get("per_flop_of"),
                    row.get("at_most"),
                )
            )
    return cases


def listed(suite: str, tiny: bool = False) -> list[Case]:
    """The cases of a suite that lists its shapes, such as ``variants`` or ``figure2``."""
    t = table()
    cases = []
    for row in t[suite]:
        sizes = row["shape"]
        if tiny:
            sizes = {**sizes, "B": min(sizes["B"], 2), "N": t["smaller"]["N"]}
        cases.append(
            Case(
                suite,
                row["spec"],
                spec_of(row["spec"], row.get("set")),
                Shape(**sizes),
                row.get("goals", {}),
                at_most_us=row.get("at_most_us"),
                sdpa=row.get("sdpa", False),
                memory=row.get("memory", {}),
            )
        )
    return cases
