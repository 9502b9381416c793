"""The shape of the house: imports point one way, variants are data, files stay small."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "flashgen"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300

#: The straight line: each level may import those before it. ``driver`` walks the compiling levels.
LINE = [
    "errors",
    "languages",
    "size",
    "resources",
    "templates",
    "toolchain",
    "grid",
    "expr",
    "spec",
    "ir",
    "interpret",
    "rows",
    "schedule",
    "count",
    "targets",
    "plan",
    "backends",
    "driver",
    "runtime",
]
#: What stands beside the line imports it, and those before it in this list; the line never imports them.
BESIDE = ["ask", "explain", "verify", "tune", "calibrate", "bench", "explore", "paper", "generate"]
BESIDE += ["demo", "cli"]
RANK = {name: rank for rank, name in enumerate(LINE + BESIDE)}


def level(path: Path) -> str:
    """The level a file belongs to: the first name below ``flashgen``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The levels a file imports, wherever in it the import stands."""
    package = ("flashgen", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, node.module or ""]).strip(".")
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for parts in (name.split(".") for name in names):
            if parts[0] == "flashgen" and len(parts) > 1 and parts[1] in RANK:
                yield parts[1]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path: Path) -> None:
    here = level(path)
    if here in ("__init__", "__main__"):  # the front door shows what stands behind it
        return
    assert here in RANK, f"{here} has no place in the line; give it one in {Path(__file__).name}"
    upward = {there for there in imported(path) if RANK[there] > RANK[here]}
    assert not upward, f"{here} must not know {', '.join(sorted(upward))}"


def test_the_oracle_shares_no_lowering_code() -> None:
    path = PACKAGE / "verify" / "oracle.py"
    assert set(imported(path)) <= {"errors", "expr", "spec", "verify"}


#: Algorithms of the papers that are about softmax itself: its passes over S in HBM, and an O kept normalised.
OF_SOFTMAX = {"flash1.py", "standard.py"}
#: What softmax calls its own, in code and in words.
ITS_OWN = re.compile(r"softmax|exp2|\bd?lse\w*|\bdelta\b|\balpha\b|\bm_(new|ref)\b|\bl_inv\b")


@pytest.mark.parametrize("path", sorted((PACKAGE / "schedule").glob("*.py")), ids=name)
def test_schedules_name_nothing_of_softmax(path: Path) -> None:
    """They speak to a row function, so that they serve every one."""
    if path.name in OF_SOFTMAX:
        return
    # A derivative may be infinite whatever the row function is: the language has an ``exp2``, too.
    text = path.read_text(encoding="utf-8").replace('"exp", "exp2", "sqrt"', "")
    assert not (found := ITS_OWN.findall(text)), found
    strings = {word for _, word in names_in(path)}
    assert not strings & {"m", "l"}, "the running maximum and sum are softmax's"


@pytest.mark.parametrize("path", FILES + sorted((ROOT / "tests").rglob("*.py")), ids=name)
def test_a_file_holds_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines: look for the second idea"


def variants() -> set[str]:
    """The names of the gallery."""
    return {path.stem for path in (ROOT / "specs").glob("*.yaml")}


#: Everyday words of the vocabulary of tiles ("a full tile", "a padded head dim") that also name a variant.
WORDS = {"full", "cross", "padded"}
#: Files that hold texts of the language, in which library functions are named.
LANGUAGE = {PACKAGE / "expr" / "library.py", PACKAGE / "verify" / "specs.py"}
#: The file of other tools' words, among which are names of variants.
ELSEWHERE = PACKAGE / "expr" / "words.py"


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Identifiers and whole string constants of a Python file, each with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield line, value
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield line, node.value
            # A name that cannot be an everyday word is not hidden in a longer text either.
            yield from ((line, word) for word in re.findall(r"\w+", node.value) if re.search(r"[_\d]", word))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_python_file_knows_a_variant(path: Path) -> None:
    allowed = set(WORDS)
    if path in LANGUAGE:
        from flashgen.expr.library import LIBRARY

        allowed |= set(LIBRARY)
    if path == ELSEWHERE:
        allowed |= variants()
    found = {(line, word) for line, word in names_in(path) if word in variants() - allowed}
    assert not found, f"variants are data: {sorted(found)}"


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.j2")), ids=name)
def test_no_template_knows_a_variant(path: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.S)
    assert not set(re.findall(r"\w+", text)) & (variants() - WORDS)
