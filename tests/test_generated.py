"""What is committed although it is derived is what the code derives now."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flashgen.generate.kernels import kernel
from flashgen.spec.gallery import gallery

ROOT = Path(__file__).resolve().parents[1]
SCHEDULES = {"": "flash2", "_backward": "backward"}
MODULES = [(name, suffix) for name in sorted(gallery()) for suffix in SCHEDULES]
NAMES = [name + suffix for name, suffix in MODULES]


@pytest.fixture(scope="module", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> object:
    patch = pytest.MonkeyPatch()
    patch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def code(text: str) -> str:
    """A module without the line that names the versions installed here."""
    return "\n".join(line for line in text.split("\n") if not line.startswith("versions "))


@pytest.mark.parametrize(("name", "suffix"), MODULES, ids=NAMES)
def test_the_committed_kernel_is_fresh(name: str, suffix: str) -> None:
    path = ROOT / "generated" / f"{name}{suffix}.py"
    assert path.exists(), "run: make generated"
    now = kernel(gallery()[name], schedule=SCHEDULES[suffix])
    fresh = code(path.read_text(encoding="utf-8")) == code(now)
    assert fresh, f"{path} is stale; run: make generated"


def test_every_kernel_belongs_to_the_gallery() -> None:
    assert {p.stem for p in (ROOT / "generated").glob("*.py")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_stands_alone(name: str) -> None:
    """It can be pasted elsewhere: it imports triton, torch and nothing of ours."""
    tree = ast.parse((ROOT / "generated" / f"{name}.py").read_text(encoding="utf-8"))
    modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {"torch", "triton", "math", "__future__"}


def test_the_schema_is_fresh() -> None:
    from flashgen.spec.schema import schema_text

    assert (ROOT / "specs" / "schema.json").read_text(encoding="utf-8") == schema_text()
