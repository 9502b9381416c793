"""The examples run as they are, small."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "gpt2.py"


@pytest.mark.parametrize("attention", ["flashgen", "sdpa", "standard"])
def test_a_tiny_gpt2_learns_a_batch_by_heart(attention: str) -> None:
    command = [sys.executable, str(SCRIPT), "--attention", attention, "--tiny", "--device", "cpu"]
    command += ["--batch", "2", "--steps", "10", "--rate", "0.01"]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"loss (\d+\.\d+)", done.stdout)]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.3
    assert done.stdout.count("tokens/s") == 10
