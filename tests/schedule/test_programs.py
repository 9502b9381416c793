"""The programs that schedules make, as golden dumps, and what they promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import flashgen
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.errors import PlanError
from flashgen.ir.dump import dump
from flashgen.ir.program import Load, Loop, Program, statements
from flashgen.schedule.pieces import pieces
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from tests.rows.schedules import schedules

GALLERY = gallery()


def program(name: str, schedule: str = "flash2") -> Program:
    return lower_spec(load_spec(GALLERY[name]), schedule).program


@pytest.mark.parametrize("name", ["causal", "gemma2_local", "t5_bias", "mla_prefill", "window_with_sinks"])
def test_flash2(name: str, golden: Callable[..., None]) -> None:
    golden(dump(program(name)))


def test_standard(golden: Callable[..., None]) -> None:
    golden(dump(program("causal", "standard")))


@pytest.mark.parametrize("schedule", ["standard_backward", "flash1", "flash1_backward"])
def test_other_algorithms(schedule: str, golden: Callable[..., None]) -> None:
    golden(dump(program("causal", schedule)))


def test_a_wrong_name_lists_the_schedules() -> None:
    with pytest.raises(PlanError, match=r"flash3.*flash2, flash1, standard, backward"):
        program("causal", "flash3")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_has_a_module(schedule: str) -> None:
    text = flashgen.compile(GALLERY["causal"], "cpu").source("h100", schedule=schedule).text
    assert ("def backward(" in text) == ("backward" in schedule)


@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_variant_has_every_schedule(name: str, schedule: str) -> None:
    """Lowering verifies each level, so this is a proof that names, axes and types fit. What a row function
    has not is refused."""
    if schedule not in schedules(load_spec(GALLERY[name])):
        with pytest.raises(PlanError, match=r"leaves no lse|an algorithm of softmax"):
            program(name, schedule)
        return
    assert program(name, schedule).kernels


@pytest.mark.parametrize("name", GALLERY)
def test_full_tiles_are_neither_masked_nor_guarded(name: str) -> None:
    for s in statements(program(name).kernels[0].body):
        if isinstance(s, Loop) and s.mask == "full":
            guards = [x.guard for x in s.body if isinstance(x, Load) and x.src in ("k", "v")]
            assert guards
            assert all(g is None for g in guards)


@pytest.mark.parametrize("d", range(8, 257, 8))
def test_pieces_cover_a_head_dim_with_little_waste(d: int) -> None:
    cut = pieces(d, "d")
    assert [p.start for p in cut] == [sum(p.size for p in cut[:i]) for i in range(len(cut))]
    assert all(p.size >= 16 and p.size & (p.size - 1) == 0 for p in cut)
    total = sum(p.size for p in cut)
    assert d <= total <= max(16, 2 ** (d - 1).bit_length())
    assert [p.padded for p in cut[:-1]] == [False] * (len(cut) - 1)


@pytest.mark.parametrize(
    ("d", "sizes"), [(96, [64, 32]), (192, [128, 64]), (120, [128]), (80, [64, 16]), (8, [16])]
)
def test_pieces_people_meet(d: int, sizes: list[int]) -> None:
    assert [p.size for p in pieces(d, "d")] == sizes
