"""The README's tour runs as it stands, its commands exist, and its tables are fresh."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flashgen.generate.tables import TABLES, refresh

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.slow
def test_the_tour_runs(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, object] = {"__name__": "tour"}
    for block in blocks(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), space)
    shown = capsys.readouterr().out
    for promised in blocks(ROOT / "README.md", "text"):
        assert promised in shown


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_specs_shown_in_documents_are_sound(path: Path) -> None:
    from flashgen.spec.load import load_spec

    for text in blocks(path, "yaml"):
        if re.search(r"^head_dim:", text, flags=re.M):
            load_spec(text)


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_tables_are_fresh(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == refresh(text), "run: make generated"


def test_the_readme_holds_every_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(TABLES)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_point_to_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_commands_shown_exist(path: Path) -> None:
    from flashgen.cli.app import COMMANDS

    shown = re.findall(r"^\$ (?:\S+ -m )?flashgen ([\w-]+)", path.read_text(encoding="utf-8"), flags=re.M)
    assert set(shown) <= set(COMMANDS)
