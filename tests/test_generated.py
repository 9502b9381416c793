"""What is committed although it is derived is what the code derives now."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest

from flashgen.driver import schedules_of
from flashgen.generate.kernels import kernel
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "generated"
NAMES = sorted(gallery())


@pytest.fixture(scope="module", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> object:
    patch = pytest.MonkeyPatch()
    patch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def code(text: str) -> str:
    """A module without the line that names the versions installed here."""
    return "\n".join(line for line in text.split("\n") if not line.startswith("versions "))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_kernel_is_fresh(name: str) -> None:
    path = GENERATED / f"{name}.py"
    assert path.exists(), "run: make generated"
    fresh = code(path.read_text(encoding="utf-8")) == code(kernel(gallery()[name]))
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


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_the_numbers_are(name: str) -> None:
    spec = load_spec(gallery()[name])
    header, _, code = (GENERATED / f"{name}.py").read_text(encoding="utf-8").partition("import torch")
    said = re.findall(r"^number +(\S+) is", header, re.MULTILINE)
    assert all(re.search(rf"(?<![\w.]){re.escape(n)}(?![\w.])", code) for n in said)
    assert ("1 / (1 - p)" in header) == (spec.dropout > 0)
    assert (f"dropout {spec.dropout}" in header) == (spec.dropout > 0)
    assert (f"sink {spec.sink}" in header) == (spec.sink is not None)
    if "log2(e), as" in header:
        assert repr(spec_scale(spec) * math.log2(math.e)) in said


@pytest.mark.parametrize("name", NAMES)
def test_one_file_has_both_plans_and_one_function(name: str) -> None:
    text = (GENERATED / f"{name}.py").read_text(encoding="utf-8")
    schedules = list(schedules_of(load_spec(gallery()[name])))
    assert re.findall(r"^schedule +(\w+):", text, re.MULTILINE) == schedules
    launched = re.findall(r"^        (\w+)\[\(programs,\)\]", text, re.MULTILINE)
    assert re.findall(r"^plan +(\w+):", text, re.MULTILINE) == launched
    assert text.count("\ndef attention(") == 1
    assert text.count("torch.autograd.Function") == len(schedules) - 1


def spec_scale(spec: AttentionSpec) -> float:
    return spec.d_qk**-0.5 if spec.scale is None else spec.scale


def test_comments_of_a_backward_are_its_mathematics() -> None:
    def comments(name: str) -> str:
        lines = (GENERATED / f"{name}.py").read_text(encoding="utf-8").splitlines()
        return " ".join(line.strip(" #") for line in lines if line.strip().startswith("#"))

    dropped, capped, sunk = comments("gpt2"), comments("softcap"), comments("gpt_oss")
    assert "dV = dV + (Z * P)^T dO" in dropped
    assert "Z = 1 / (1 - p) there, else 0" in dropped
    assert "dS * d score / d s" in capped
    assert "dS * d score / d s" not in dropped
    assert "dQ = scale * dQ" in dropped
    assert "dsink = -exp(sink - lse) * delta" in sunk
    assert "* 1.0" not in (GENERATED / "gpt_oss.py").read_text(encoding="utf-8")
