"""The cache on disk: found again, never wrong, never in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import flashgen
from flashgen.runtime import cache, source

from .specs import plain


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path))
    for cached in (source.best_plan, source._best, source.generated):
        cached.cache_clear()
    return tmp_path


def test_an_entry_is_made_once(place: Path) -> None:
    made = []

    def make() -> dict[str, str]:
        made.append(1)
        return {"a.txt": "é\n", "b.txt": ""}

    first = cache.entry({"x": 1}, make)
    assert cache.entry({"x": 1}, make) == first
    assert len(made) == 1
    assert place in first[0].parents


def test_keys_differ_in_every_part(place: Path) -> None:
    assert cache.fingerprint({"x": 1}) != cache.fingerprint({"x": "1"}) != cache.fingerprint({"x": 1.0})


@pytest.mark.parametrize("part", ["flashgen", "triton", "torch", "jinja2"])
def test_another_toolchain_is_another_key(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.fingerprint({"x": 1})
    changed = {**cache.toolchain(), part: "another"}
    monkeypatch.setattr(cache, "toolchain", lambda: changed)
    assert cache.fingerprint({"x": 1}) != before


@pytest.mark.parametrize(
    "damage", ["cut", "other", "gone", "index cut", "index other", "index gone", "index odd"]
)
def test_a_damaged_entry_is_made_anew(place: Path, damage: str) -> None:
    folder, _ = cache.entry({"x": 1}, lambda: {"a.txt": "right"})
    victim = folder / (cache.INDEX if "index" in damage else "a.txt")
    texts = {
        "cut": "ri",
        "other": "wrong",
        "index cut": "{",
        "index other": '{"a.txt": "0"}',
        "index odd": "[1]",
    }
    if "gone" in damage:
        victim.unlink()
    else:
        victim.write_text(texts[damage])
    assert cache.entry({"x": 1}, lambda: {"a.txt": "right"})[1] == {"a.txt": "right"}
    assert (folder / "a.txt").read_text() == "right"
    assert cache.read(folder) == {"a.txt": "right"}


def test_a_failure_leaves_nothing(place: Path) -> None:
    def fail() -> dict[str, str]:
        raise flashgen.PlanError("no")

    with pytest.raises(flashgen.PlanError):
        cache.entry({"x": 1}, fail)
    assert list(place.rglob("*")) == []


def test_a_place_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path / "file" / "below"))
    first = cache.entry({"x": 2}, lambda: {"a.txt": "right"})
    assert first[1] == {"a.txt": "right"}
    assert cache.entry({"x": 2}, lambda: {"a.txt": "made again"}) == first


def test_processes_share_a_cache(place: Path) -> None:
    """Several write the same entries at once; each sees whole ones."""
    code = (
        "from flashgen.runtime.cache import entry\n"
        "for i in range(40):\n"
        "    text = str(i) * 20000\n"
        "    files = {'a.py': text, 'b.py': text}\n"
        "    assert entry({'i': i}, lambda: files)[1] == files\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    assert not [p for p in place.rglob(".*") if p.is_file()], "temporary files stay behind"


@pytest.mark.slow
def test_two_specs_that_differ_in_a_constant_have_two_kernels(place: Path) -> None:
    one, two = (plain(score="c * s", constants={"c": c}) for c in (2.0, 3.0))
    a, b = (flashgen.compile(s, "h100").source() for s in (one, two))
    assert a.path != b.path
    assert a.text != b.text
    assert flashgen.compile(one, "h100").source().text == a.text


@pytest.mark.slow
@pytest.mark.parametrize("target", ["h100", "a100"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_generated_module_stands_in_the_cache(place: Path, target: str, dtype: str) -> None:
    record = flashgen.compile(plain(), target).source(dtype=dtype)
    assert place in record.path.parents
    assert record.path.read_text(encoding="utf-8") == record.text
    assert (record.plan.target, record.plan.dtype) == (target, dtype)
    manifest = json.loads((record.path.parent / "manifest.json").read_text())
    assert manifest["spec"] == json.loads(plain().canonical_json())
    source.generated.cache_clear()
    assert flashgen.compile(plain(), target).source(dtype=dtype) == record


def test_a_changed_file_is_read_anew(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nhead_dim: 16\nmask: causal\n")
    first = flashgen.compile(path).spec
    path.write_text("name: a\nhead_dim: 32\nmask: causal\n")
    assert (first.d_qk, flashgen.compile(path).spec.d_qk) == (16, 32)


def test_an_error_is_found_again(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nhead_dim: 17\n")
    for _ in range(2):
        with pytest.raises(flashgen.SpecError, match=r"a\.yaml:2:"):
            flashgen.compile(path)
    assert not list(place.rglob("spec.json"))
