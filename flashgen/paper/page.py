"""Sections in, one HTML page and a CSV file for each table out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from flashgen import __version__
from flashgen.explore.page import SHARED, embedded
from flashgen.templates import environment

from .tables import Section


def page(sections: Sequence[Section]) -> str:
    """The HTML: tables stand in it, its script draws the charts. It asks nothing of a network."""
    charts = [asdict(chart) for s in sections for chart in s.charts]
    template = environment("paper", SHARED).get_template("page.html.j2")
    return template.render(sections=sections, json=embedded(charts), version=__version__)


def files(sections: Sequence[Section]) -> dict[str, str]:
    """Every file by its name."""
    tables = {f"{t.name}.csv": t.csv() for s in sections for t in s.tables}
    return {"paper.html": page(sections), **tables}
