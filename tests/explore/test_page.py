"""The page in a real browser: chosen as the planner does, at any width, in light and dark, by keyboard."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashgen.errors import PlanError
from flashgen.explain.words import kind_of
from flashgen.explore.data import page_data
from flashgen.plan.plan import Measured
from flashgen.plan.search import best_of

from .pages import KIB, data, measured, planned, question, requests, source, written

SCRIPTS = Path(__file__).parent
REAL = question().target.smem_bytes


class Page:
    """A page that is open in the browser."""

    def __init__(self, driver: Any, address: str, width: int = 1280, scheme: str = "light") -> None:
        self.driver = driver
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What ``script`` returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """The text of an element."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def press(self, selector: str, *keys: str) -> None:
        """Focus an element and press keys, one after another."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.run("document.querySelector(arguments[0]).focus()", selector)
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a page of a tuned forward, and of one of the backward's two kernels."""
    folder = tmp_path_factory.mktemp("pages")
    made = {"forward": data("flash2"), "backward": data("backward")}
    return {name: written(folder / f"{name}.html", held) for name, held in made.items()}


NAMES = """const [kernel, srams] = arguments;
const name = (i) => data.kernels[kernel].rows[i].name;
return srams.map((sram) => ranking(data.kernels[kernel], sram).map(name));"""
KINDS = """const counts = {};
for (const row of data.kernels[arguments[0]].rows) {
  const out = row.tried && rejection(row, arguments[1]);
  if (out) counts[`${out.kind}: ${out.why}`] = (counts[`${out.kind}: ${out.why}`] || 0) + 1;
}
return counts;"""
SRAMS = [n * KIB for n in (4, 16, 20, 33, 48, 64, 99, 128, 163, 227, 300, 512)] + [100_001]


@pytest.mark.parametrize("schedule, kernel", [("flash2", 0), ("backward", 0), ("backward", 1)])
def test_it_chooses_as_the_planner_does(
    chromium: Any, pages: dict[str, str], schedule: str, kernel: int
) -> None:
    page = Page(chromium, pages["forward" if schedule == "flash2" else "backward"])
    for sram, names in zip(SRAMS, page.run(NAMES, kernel, SRAMS), strict=True):
        found = planned(schedule, kernel, sram)
        assert names == [str(c.plan) for c in found if not c.rejected], sram
        counts: dict[str, int] = {}
        for c in found:
            if c.rejected:
                said = f"{kind_of(c)}: {c.rejected}"
                counts[said] = counts.get(said, 0) + 1
        assert page.run(KINDS, kernel, sram) == counts


def test_it_loads_without_a_complaint_or_a_request(chromium: Any, pages: dict[str, str]) -> None:
    chromium.get_log("browser"), chromium.get_log("performance")
    for address in pages.values():
        Page(chromium, address)
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert set(pages.values()) <= set(asked)
    assert all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_and_legibly(
    chromium: Any, pages: dict[str, str], name: str, scheme: str
) -> None:
    page = Page(chromium, pages[name], 360, scheme)
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    look = (SCRIPTS / "look.js").read_text(encoding="utf-8")
    found = page.run(look)
    assert found["seen"] > 300
    assert found["wide"] == []
    assert found["faint"] == []
    assert (found["lightness"] < 0.1) == (scheme == "dark")
    shaded = page.run(  # shadows stay at the edges, what covers them scrolls along
        "return [...document.querySelectorAll('.scroll')].filter((n) => n.scrollWidth > n.clientWidth)"
        ".map((n) => getComputedStyle(n).backgroundAttachment)"
    )
    assert set(shaded) == {"local, local, scroll, scroll"}


def test_the_slider_moves_everything(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["forward"])
    assert page.run("return document.querySelector('#answer').getAttribute('aria-live')") == "polite"
    for sram in (48 * KIB, 99 * KIB, 400 * KIB):
        page.run(
            "const s = byId('sram'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", sram // KIB
        )
        best = planned("flash2", 0, sram)[0]
        assert best.cost is not None
        short = str(best.plan).split(", ", 1)[1]
        title = f"{best.plan.side('BLOCK_M')} × {best.plan.side('BLOCK_N')}, {short}"
        assert title in page.text("#answer")
        assert page.text("#code-head").endswith(title)
        assert page.text("#source") == source("flash2", 0, best.plan)
        facts = page.text("#facts")
        assert f"{requests(best.plan) / 1e6:#.3g}".rstrip(".") + " MB" in facts
        assert page.text("#limits caption").endswith(f"limited by {best.cost.limit}")
        here = page.run(
            "return [...document.querySelectorAll('#traffic-table tbody tr')].map(r => r.textContent)"
        )
        assert any(row.startswith(f"{sram // KIB} KiB") and title in row for row in here)


def test_too_little_sram_is_answered_as_the_planner_does(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["forward"])
    page.run("setSram(2048)")
    asked = question()
    with pytest.raises(PlanError) as error:
        best_of(planned("flash2", 0, 2048), asked.target.with_sram(2048), asked.lowered.program)
    needs = re.search(r"the smallest that works needs [\d.,]+ \w+", str(error.value))
    assert needs is not None
    assert needs[0] in page.text("#answer")
    assert page.run("return byId('plan').hidden && byId('code').hidden")
    page.run("setSram(65536)")
    assert not page.run("return byId('plan').hidden")


def test_the_heat_map_is_walked_by_keys_and_shows_sources(chromium: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = Page(chromium, pages["forward"])
    start = page.run(
        "return document.querySelector('#heat [tabindex=\"0\"]').dataset.cell.split(',').map(Number)"
    )
    best = planned("flash2", 0, REAL)
    assert start == [best[0].plan.side("BLOCK_M"), best[0].plan.side("BLOCK_N")]
    page.press('#heat [tabindex="0"]', Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER)
    at = page.run("return document.activeElement.dataset.cell.split(',').map(Number)")
    assert at == [start[0], 32]
    sides = {"BLOCK_M": at[0], "BLOCK_N": at[1]}
    cell = next(c for c in best if dict(c.plan.sides) == sides)
    assert page.text("#source") == source("flash2", 0, cell.plan)
    assert page.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press('#heat [tabindex="0"]', Keys.ARROW_UP)
    assert page.run("return document.activeElement.dataset.cell") == f"{start[0] // 2},32"
    page.press("#back", Keys.ENTER)
    assert page.text("#source") == source("flash2", 0, best[0].plan)


def test_arrow_keys_move_the_slider(chromium: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = Page(chromium, pages["forward"])
    page.press("#sram", Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.run("return state.sram") == 225 * KIB
    assert page.run("return byId('sram').getAttribute('aria-valuetext')") == "225 KiB"
    assert page.text("#answer").startswith("225 KiB")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) != "none"


def test_cells_hold_the_planners_times(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["forward"])
    shown = page.run(
        "const cells = [...document.querySelectorAll('#heat button')];"
        "return Object.fromEntries(cells.map((b) => [b.dataset.cell, b.textContent]))"
    )
    times: dict[str, float] = {}
    for c in planned("flash2", 0, REAL):
        if c.cost:
            times.setdefault(f"{c.plan.side('BLOCK_M')},{c.plan.side('BLOCK_N')}", c.cost.us)
    assert {cell for cell, text in shown.items() if text != "–"} == set(times)
    for cell, us in times.items():
        assert float(shown[cell].replace(",", "").rstrip("*")) == pytest.approx(us, rel=6e-3)


@pytest.mark.parametrize("figure, column", [("traffic", 3), ("roofline", 2)])
def test_charts_stand_where_their_tables_say(
    chromium: Any, pages: dict[str, str], figure: str, column: int
) -> None:
    page = Page(chromium, pages["backward"])
    script = (SCRIPTS / "read.js").read_text(encoding="utf-8")
    said = page.run(script, figure, column)
    number, unit = said["table"].split(" ")
    scale = {"MB": 1e-3, "GB": 1.0, "TFLOP/s": 1.0}[unit]
    assert math.isclose(said["chart"], float(number.replace(",", "")) * scale, rel_tol=0.02)


def test_measured_times_can_be_shown(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["forward"])
    times = measured()["variant_fwd"]
    page.run("byId('measured').click()")
    fastest = min(times, key=lambda name: times[name])
    plan = next(c.plan for c in planned("flash2", 0, REAL) if str(c.plan) == fastest)
    cell = f"{plan.side('BLOCK_M')},{plan.side('BLOCK_N')}"
    label = page.run(
        "return document.querySelector(`[data-cell='${arguments[0]}']`).getAttribute('aria-label')", cell
    )
    assert str(plan).split(", ", 1)[1] in label
    page.run("document.querySelector(`[data-cell='${arguments[0]}']`).click()", cell)
    assert page.text("#source") == source("flash2", 0, plan)
    assert page.text("#heat caption").startswith("Measured time")
    assert page.run("return byId('measured-choice').hidden") is False
    assert Page(chromium, pages["backward"]).run("return byId('measured-choice').hidden") is True


def test_each_kernel_of_a_backward_has_its_page(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["backward"])
    page.run("document.querySelectorAll('input[name=kernel]')[1].click()")
    best = planned("backward", 1, REAL)[0]
    assert page.text("#source") == source("backward", 1, best.plan)
    assert page.text("#code-head").endswith(str(best.plan).split(", ", 1)[1])


def test_a_kernel_without_dots_has_no_roofline(chromium: Any, tmp_path: Path) -> None:
    held = data("backward")
    kernels = [{**k, "rows": [{**r, "flops": 0} for r in k["rows"]]} for k in held["kernels"]]
    page = Page(chromium, written(tmp_path / "softmax.html", {**held, "kernels": kernels}))
    assert chromium.get_log("browser") == []
    assert page.run("return byId('roof').hidden")
    assert page.text("#facts").count("none") == 1


def test_the_rejected_can_be_filtered_and_sources_copied(chromium: Any, pages: dict[str, str]) -> None:
    page = Page(chromium, pages["forward"])
    out = [c for c in planned("flash2", 0, REAL) if c.rejected]
    good = [c for c in planned("flash2", 0, REAL) if not c.rejected]
    rows = data("flash2")["kernels"][0]["rows"]
    tried = sum(r["tried"] for r in rows)
    first = tried - len(out)
    assert (
        page.text("#rejected-count")
        == f"{len(out)} of {len(out)} rejected, of the {tried} tilings tried at first"
    )
    assert (
        f"the best of {len(good)} candidates that fit: {first} of the {tried} tilings tried at first, and "
        f"{len(good) - first} made of them"
    ) in page.text("body")
    kind = "too much shared memory"
    choose = "const k = byId('kinds'); k.value = arguments[0]; k.dispatchEvent(new Event('change'))"
    page.run(choose, kind)
    some = [c for c in out if kind_of(c) == kind]
    assert page.text("#rejected-count").startswith(f"{len(some)} of {len(out)} rejected")
    assert page.run("return document.querySelectorAll('#rejected-table tbody tr').length") == len(some)
    chromium.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.run("byId('copy').click()")
    lines = page.text("#source").count("\n")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(chromium, 5).until(lambda _: page.text("#copied") == f"Copied {lines} lines.")


def test_the_compilers_word_decides_where_it_was_asked(chromium: Any, tmp_path: Path) -> None:
    asked, found = question(), planned("flash2", 0, REAL)
    refused = replace(
        found[0], cost=None, rejected="spills 300 bytes a thread, 256 are allowed", refused=True
    )
    passed = replace(found[3], measured=Measured(found[3].smem_bytes + 512, 200, 0))
    held = page_data(asked, ranked=[[passed, *found[1:3], *found[4:], refused]])
    page = Page(chromium, written(tmp_path / "compiled.html", held))
    first = "return data.kernels[0].rows[ranking(data.kernels[0], arguments[0])[0]].name"
    assert page.run(first, REAL) == str(passed.plan)
    assert "confirmed by the compiler" in page.text("#words")
    assert "≈" not in page.text("#facts")
    assert page.run(first, REAL + KIB) == str(found[1].plan)  # of which the compiler said nothing
    out = "return data.kernels[0].rows.find((row) => row.name === arguments[0]).rejected"
    assert page.run(out, str(refused.plan)) == refused.rejected
