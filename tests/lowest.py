"""flashgen with the lowest versions that pyproject.toml allows: ``make lowest``, which ``make test`` runs.

A fresh environment takes them from the package index (a few MB), and torch and Triton, which are large, from
the environment that runs this. Without an index it is skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Too large to install once more; constraints.txt pins what runs.
SHARED = {"torch", "triton"}
#: What runs, in one process: importing torch takes longer than most of it.
CODE = """\
import torch
from typer.testing import CliRunner
import flashgen
from flashgen.cli.app import app

for words in ("--help", "verify --help", "check causal", "explain causal", "verify causal --examples 1",
              "explore causal -o explored"):
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, (words, result.output[-1500:], result.exception)
flashgen.compile("causal")(*torch.randn(3, 1, 2, 40, 128))
"""


def floors() -> list[str]:
    """Every dependency of a user at its lowest version, ``name==version``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["verify"], *extras["explore"]]
    found = [re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:;.*)?", line) for line in wanted]
    assert all(found), f"a dependency without a lowest version among {wanted}"
    return [f"{m[1]}=={m[2]}" for m in found if m and m[1] not in SHARED]


def test_the_lowest_versions_work(tmp_path: Path) -> None:
    home = tmp_path / "lowest"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / "bin" / "python"
    options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    installed = subprocess.run(
        [python, "-m", "pip", "install", *options, *floors()], capture_output=True, text=True, check=False
    )
    if re.search("Max retries|NewConnectionError|No matching distribution found", installed.stderr):
        reached = subprocess.run(
            [python, "-m", "pip", "download", *options, "--no-deps", "-d", tmp_path, "shellingham"],
            check=False,
        )
        if reached.returncode:
            pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    shared = [str(ROOT), sysconfig.get_path("purelib")]  # behind what was installed
    (site / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    done = subprocess.run([python, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
