"""Where something is missing: what can work works, and the rest says what is missing and what would work."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import flashgen
from flashgen import resources, toolchain
from flashgen.backends.triton import verdict
from flashgen.errors import CannotRun
from flashgen.runtime import cache

from .hidden import NO_TRITON, surroundings

WITHOUT = """\
import json, sys
import torch
from typer.testing import CliRunner
import flashgen
from flashgen.cli.app import app

q, k, v = (torch.randn(1, 2, 40, 128, requires_grad=True) for _ in range(3))
attn = flashgen.compile("causal")
attn(q, k, v).sum().backward()
said = {"source": [0, attn.source("h100").text]}
for words in (
    "check causal", "explain causal", "verify causal --examples 1", "build causal --no-confirm -o out",
    "build causal -o other", "verify causal --examples 2 --backend triton-interpreted",
    "resources causal --sample 1",
):
    result = CliRunner().invoke(app, words.split())
    trouble = result.exception if not isinstance(result.exception, SystemExit) else None
    said[words] = [result.exit_code, result.output + (repr(trouble) if trouble else "")]
print(json.dumps(said))
"""


def test_without_triton_all_but_compiling_works(tmp_path: Path) -> None:
    env = surroundings(NO_TRITON, tmp_path / "hidden") | {"FLASHGEN_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    needs = {w for w in said if w.startswith("build causal -o") or "interpreted" in w or "resources" in w}
    for words, (status, text) in said.items():
        if words in needs:
            assert status == CannotRun.status, text
            assert "needs Triton, which is not installed" in text
            assert "Without it" in text
        else:
            assert status == 0, f"{words}: {text}"
    assert "triton not installed" in said["source"][1]
    assert (tmp_path / "out" / "kernel.py").is_file()
    assert not (tmp_path / "other").exists()


def test_triton_is_known_by_any_distributions_name(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton")

    def nothing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", nothing)
    toolchain.triton_version.cache_clear()
    assert toolchain.triton_version() == triton.__version__


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder that cannot be made."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "below"


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("FLASHGEN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    assert not resources.cache_folder().parent.is_dir()
    made: list[int] = []

    def texts_made() -> dict[str, str]:
        made.append(1)
        return {"a.txt": "kept in memory"}

    for _ in range(2):
        _, texts = cache.entry({"what": "homeless"}, texts_made)
        assert texts == {"a.txt": "kept in memory"}
    assert len(made) == 1


def test_nothing_is_left_in_temporary_folders(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(nowhere))
    flashgen.compile(flashgen.AttentionSpec(name="left", head_dim=16)).source("h100")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_triton_gets_a_cache_that_can_be_written(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    toolchain.cache_for_triton()
    assert "TRITON_CACHE_DIR" not in os.environ
    monkeypatch.setenv("TRITON_HOME", str(nowhere))
    for own in (tmp_path / "cache", nowhere):
        monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(own))
        monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
        toolchain.cache_for_triton()
        chosen = Path(os.environ["TRITON_CACHE_DIR"])
        assert chosen.is_dir()
        assert (chosen.parent == own) == (own != nowhere)


def test_no_folder_for_triton_is_one_error_at_once(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRITON_HOME", "FLASHGEN_CACHE_DIR"):
        monkeypatch.setenv(name, str(nowhere))
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: (_ for _ in ()).throw(FileNotFoundError("none")))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    with pytest.raises(CannotRun, match=r"TRITON_CACHE_DIR and TMPDIR should name"):
        toolchain.cache_for_triton()
    # In the compiler's process, and not for one candidate after another.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(nowhere))
    with pytest.raises(CannotRun, match=f"Triton's cache {nowhere} cannot be written"):
        verdict.compiled({"text": "", "kernel": "k"})
