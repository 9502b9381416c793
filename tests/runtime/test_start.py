"""What starting costs: no module is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("triton", "sympy", "pydantic", "ruamel", "jinja2", "numpy.testing", "rich", "typer")


def run(code: str, **environment: str) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_brings_nothing_along() -> None:
    found = run("import sys, flashgen; print([m for m in sys.argv[1:] + list(sys.modules)])")
    assert not {m.split(".")[0] for m in found.replace("'", "").strip("[]").split(", ")} & {"torch", *HEAVY}


def test_import_beside_torch_registers_the_op_and_little_else() -> None:
    code = (
        "import torch, sys; before = set(sys.modules); import flashgen\n"
        "print(torch.ops.flashgen.attention.default.name())\n"
        "print(*sorted(m for m in set(sys.modules) - before))"
    )
    name, modules = run(code).splitlines()
    assert name == "flashgen::attention"
    assert not {m for m in modules.split() if m.split(".")[0] in HEAVY}


def test_a_warm_compile_reads_the_cache_only(tmp_path: Path) -> None:
    """Neither the loader nor the planner nor the emitter is imported."""
    spec = tmp_path / "warm.yaml"
    spec.write_text("name: warm\nhead_dim: 64\nmask: causal\n")
    code = (
        "import sys, torch, flashgen\n"
        f"attn = flashgen.compile({str(spec)!r}, 'h100')\n"
        "print(attn.source().plan.target)\n"
        "print(*(m for m in sys.modules if m.startswith('flashgen.') or '.' not in m))"
    )
    place = {"FLASHGEN_CACHE_DIR": str(tmp_path / "cache")}
    run(code, **place)
    target, modules = run(code, **place).splitlines()
    assert target == "h100"
    loaded = set(modules.split())
    assert not loaded & {*HEAVY, "flashgen.driver", "flashgen.spec.model", "flashgen.plan.search"}


def test_names_are_there_on_first_use() -> None:
    import flashgen

    for name in flashgen.__all__:
        assert getattr(flashgen, name).__name__.rpartition(".")[2] == name
    assert set(flashgen.__all__) <= set(dir(flashgen))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        flashgen.nothing  # noqa: B018
