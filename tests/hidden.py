"""Surroundings in which something is missing, for a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: No Triton: neither the module nor a distribution of any name.
NO_TRITON = """\
import importlib.metadata, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError("No module named 'triton'", name="triton")

named = importlib.metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if "triton" in name:
        raise importlib.metadata.PackageNotFoundError(name)
    return named(cls, name)

sys.meta_path.insert(0, Hidden())
importlib.metadata.Distribution.from_name = classmethod(from_name)
"""
#: A numpy with which Triton's interpreter does not work.
BROKEN_NUMPY = """\
import numpy

def broken(*arguments, **options):
    raise TypeError("only 0-dimensional arrays can be converted to Python scalars")

numpy.matmul = broken
"""


def surroundings(code: str, folder: Path) -> dict[str, str]:
    """The environment of a process that runs ``code`` before anything else."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
