"""What a wheel says of itself stands in one place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import flashgen

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_read_from_the_package() -> None:
    assert "version" not in SETTINGS["project"]
    assert "version" in SETTINGS["project"]["dynamic"]
    source = ROOT / SETTINGS["tool"]["hatch"]["version"]["path"]
    found = re.findall(r'^__version__ = "([^"]+)"$', source.read_text(encoding="utf-8"), flags=re.M)
    assert found == [flashgen.__version__]


def test_no_other_file_of_the_package_names_the_version() -> None:
    number = re.escape(flashgen.__version__)
    for path in [ROOT / "pyproject.toml", ROOT / "README.md", *sorted((ROOT / "flashgen").rglob("*.py"))]:
        times = len(re.findall(rf"(?<![\d.]){number}(?![\d.])", path.read_text(encoding="utf-8")))
        assert times == (path == ROOT / "flashgen" / "__init__.py"), path


def test_types_of_the_package_are_offered() -> None:
    """A type checker reads ``flashgen`` because of this file."""
    assert (ROOT / "flashgen" / "py.typed").is_file()
    assert "Typing :: Typed" in SETTINGS["project"]["classifiers"]
