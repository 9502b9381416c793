"""Everything committed although it is derived, written anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flashgen.errors import FlashgenError
from flashgen.resources import folder
from flashgen.spec.schema import schema_text

from . import tables
from .kernels import kernels


def checkout() -> Path:
    """The root of the checkout; raises ``FlashgenError`` in an installed package, which has none."""
    root = folder("generated").parent
    if not (root / "pyproject.toml").exists():
        raise FlashgenError(
            "this refreshes files of a checkout of flashgen, and this is an installed package"
        )
    return root


def documents(root: Path) -> dict[Path, str]:
    """The documents with their tables made anew."""
    paths = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]
    return {p: tables.refresh(p.read_text(encoding="utf-8")) for p in paths}


def derived(root: Path) -> dict[Path, str]:
    """Every derived file and what it should hold."""
    modules = {root / "generated" / name: text for name, text in kernels().items()}
    return modules | {root / "specs" / "schema.json": schema_text()} | documents(root)


def refresh(root: Path) -> Iterator[Path]:
    """Write what differs, remove kernels of specs that are gone; gives the paths changed."""
    wanted = derived(root)
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            yield path
    for path in sorted((root / "generated").glob("*.py")):
        if path not in wanted:
            path.unlink()
            yield path
