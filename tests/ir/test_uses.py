"""What a statement reads and gives a value to, by one place, is what its fields say."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from flashgen.driver import SCHEDULES, lower_spec
from flashgen.expr.nodes import Var
from flashgen.ir.program import Load, Loop, Stmt, Store, Tile, statements
from flashgen.ir.uses import defined, reads, used
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec

NAMES = ("gemma2_local", "evoformer", "gpt2", "padded")


def _names(x: Any) -> list[str]:
    """Every variable and tile in a field, whatever the field is called."""
    if isinstance(x, Var | Tile):
        return [x.name]
    if isinstance(x, tuple):
        return [n for part in x for n in _names(part)]
    if not is_dataclass(x):
        return []
    return [n for f in fields(x) for n in _names(getattr(x, f.name))]


def _every_statement(name: str) -> list[Stmt]:
    spec = load_spec(gallery()[name])
    schedules = [s for s in SCHEDULES if spec.backward or "backward" not in s]
    kernels = [k for s in schedules for k in lower_spec(spec, s).program.kernels]
    return [s for k in kernels for s in statements(k.body)]


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_reads_every_name_in_its_fields_but_its_result(name: str) -> None:
    for s in _every_statement(name):
        if isinstance(s, Loop):
            continue
        of_tensor = "src" if isinstance(s, Load) else "dst" if isinstance(s, Store) else ""
        given = "name" if defined(s) and not hasattr(s, "dst") else "dst"
        read = [n for f in fields(s) if f.name not in (of_tensor, given) for n in _names(getattr(s, f.name))]
        assert sorted(reads(s)) == sorted(read), s


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_needs_what_its_body_does_not_make(name: str) -> None:
    for s in _every_statement(name):
        if isinstance(s, Loop):
            inside = {n for t in s.body for n in used(t)}
            assert set(s.carried) <= used(s)
            assert s.var not in used(s)
            assert inside - used(s) <= {s.var, *(defined(t) for t in s.body)}
