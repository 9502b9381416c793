"""The papers' page in a real browser: whole on a phone, legible in light and dark, alone with itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flashgen.paper.main import FIGURES, figure
from flashgen.paper.page import page
from tests.explore.test_page import SCRIPTS, Page


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("paper") / "paper.html"
    path.write_text(page([figure(name) for name in FIGURES]), encoding="utf-8")
    return path.as_uri()


def test_it_loads_without_a_complaint_or_a_request(chromium: Any, address: str) -> None:
    chromium.get("data:,")  # the browser's own start page asks for much
    chromium.get_log("browser"), chromium.get_log("performance")
    Page(chromium, address)
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert address in asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_and_legibly(chromium: Any, address: str, scheme: str) -> None:
    shown = Page(chromium, address, 360, scheme)
    assert shown.run("return document.documentElement.scrollWidth <= window.innerWidth")
    found = shown.run((SCRIPTS / "look.js").read_text(encoding="utf-8"))
    assert found["seen"] > 300
    assert found["wide"] == []
    assert found["faint"] == []
    assert (found["lightness"] < 0.1) == (scheme == "dark")


def test_every_curve_is_drawn_and_named(chromium: Any, address: str) -> None:
    shown = Page(chromium, address)
    for chart in (c for name in FIGURES for c in figure(name).charts):
        script = """const svg = document.querySelector(`#${arguments[0]} svg`);
        const [dots, lines] = ["circle", "path"].map((name) => [...svg.querySelectorAll(name)]);
        const bounds = svg.getBoundingClientRect();
        const out = dots.map((d) => d.getBoundingClientRect());
        const fits = (d) => d.left >= bounds.left && d.bottom <= bounds.bottom && d.top >= bounds.top;
        return { label: svg.getAttribute("aria-label"), dots: dots.length, lines: lines.length,
          inside: out.every(fits) }"""
        found = shown.run(script, chart.id)
        assert found["label"].startswith(chart.title)
        assert found["dots"] == sum(len(line.points) for line in chart.lines)
        assert found["lines"] == len(chart.lines)
        assert found["inside"]
        legend = shown.run("return byId(arguments[0]).parentNode.textContent", chart.id)
        assert all(line.label in legend for line in chart.lines)
