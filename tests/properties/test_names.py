"""Hygiene: no name of a program means two things, and a user's names are the user's."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flashgen
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.ir.names import keys, local_names
from flashgen.runtime.signature import signature
from flashgen.spec.gallery import find
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.spec.names import value_name_problem
from flashgen.verify import Case, check, check_gradients
from flashgen.verify.oracle import oracle
from flashgen.verify.run import program, program_backward
from flashgen.verify.specs import cases, specs
from flashgen.verify.tables import tables
from tests.rows.schedules import schedules

from ..emit.building import plan, source

SMALL = (16, 16)
LEARNED = {"shape": [17], "grad": True}
BIASED = AttentionSpec(
    name="x", head_dim=16, score="s + tab[clip(q - k + 8, 0, 16)]", mask="k < Nk - 5", inputs={"tab": LEARNED}
)


def gradient_by_oracle(spec: AttentionSpec, q: Any, k: Any, v: Any, inputs: dict[str, Any]) -> torch.Tensor:
    tab = inputs["tab"].double().requires_grad_()
    out, _ = oracle(spec, q.double(), k.double(), v.double(), {**inputs, "tab": tab})
    out.sum().backward()
    return tab.grad


@pytest.mark.parametrize(
    ("mask", "batch", "n", "more"),
    [
        ("k < ln[b] - 1", 3, 64, {"ln": torch.tensor([40, 3, 65])}),
        ("k < Nk - 5", 1, 600, {}),
    ],
)
def test_a_mask_never_reads_the_counter_of_a_table(mask: str, batch: int, n: int, more: dict) -> None:
    declared = {"tab": LEARNED, **{name: {"shape": ["batch"], "dtype": "int"} for name in more}}
    spec = BIASED.replace(mask=mask, inputs=declared)
    torch.manual_seed(0)
    q, k, v = (torch.randn(batch, 1, n, 16) for _ in range(3))
    tab = torch.randn(17)
    expected = gradient_by_oracle(spec, q, k, v, {"tab": tab, **more})
    tab.requires_grad_()
    flashgen.compile(spec)(q, k, v, tab=tab, **more).sum().backward()
    torch.testing.assert_close(tab.grad.double(), expected, rtol=1e-4, atol=1e-4)
    case = Case(batch, 1, 1, min(n, 80), min(n, 80), tile=SMALL)
    assert check_gradients(spec, case, program_backward(SMALL)) == []


@settings(max_examples=12)
@given(st.data())
def test_learned_tables_beside_masks_of_every_scalar(data: st.DataObject) -> None:
    spec = data.draw(tables())
    case = data.draw(cases(spec, ("fp32",), 70, (SMALL, (16, 32))))
    assert check_gradients(spec, case, program_backward(case.tile)) == []


@settings(max_examples=10)
@given(st.data())
def test_every_schedule_of_a_random_spec_is_hygienic(data: st.DataObject) -> None:
    spec = data.draw(specs(("fp32",), training=True))
    for schedule in schedules(spec):
        lower_spec(spec, schedule)  # the verifier's word


# -- a user's names --


@cache
def words() -> tuple[str, ...]:
    """Every name that a generated kernel of the gallery, or a program, uses."""
    found: set[str] = set()
    for path in sorted((Path(__file__).parents[2] / "generated").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found |= {getattr(node, key) for key in ("id", "arg", "name") if hasattr(node, key)}
    for spec in ("t5_bias", "gemma2_local"):
        for schedule in SCHEDULES:
            made = lower_spec(load_spec(find(spec)), schedule).program
            found |= {t.name for t in made.tensors} | {n for k in made.kernels for n in local_names(k)}
    found |= {"d1", "acc", "n", "dbias", "bias", "x_fwd", "x_bwd_dq", "P", "S", "O", "match", "tl", "triton"}
    return tuple(sorted(n for n in found if isinstance(n, str) and value_name_problem(n) is None))


def named(names: tuple[str, ...]) -> AttentionSpec:
    """A spec whose inputs have these names, read in all the ways that kernels tell apart."""
    ways: list[tuple[dict[str, Any], str, str]] = [
        ({"shape": ["heads"], "grad": True}, "score", "{}[h]"),
        ({"shape": ["batch", "seqlen_k"], "grad": True}, "score", "{}[b, k]"),
        ({"shape": ["batch"], "dtype": "int"}, "mask", "(k < {}[b] + Nk // 2)"),
        ({"shape": [9], "grad": True}, "score", "{}[clip(q - k + 4, 0, 8)]"),
        ({"shape": ["seqlen_q", "seqlen_k"], "grad": True}, "score", "{}[q, k]"),
        ({"shape": ["batch", "seqlen_q"], "dtype": "bool"}, "mask", "({}[b, q] | (k == 0))"),
        ({"shape": ["heads", "seqlen_q"]}, "score", "{}[h, q]"),
    ]
    found = [(name, *ways[i % len(ways)]) for i, name in enumerate(names)]
    texts = {field: [read.format(n) for n, _, f, read in found if f == field] for field in ("score", "mask")}
    return AttentionSpec(
        name="x",
        head_dim=16,
        score=" + ".join(["s", *(f"0.125 * {t}" for t in texts["score"])]),
        mask=" & ".join(texts["mask"]) or None,
        inputs={name: declared for name, declared, *_ in found},
        dropout=0.25 * (len(names) % 2),
    )


#: The names that most would clash by, in the places where they would.
WORST = (
    ("t", "lse", "n", "dq", "dk", "delta", "o"),
    ("do", "torch", "B", "dbias", "bias", "x_fwd", "programs"),
)


@pytest.mark.parametrize("names", WORST, ids=lambda names: names[0])
def test_the_worst_names_on_the_kernels(names: tuple[str, ...]) -> None:
    pytest.importorskip("triton")
    spec, case = named(names), Case(2, 2, 1, 18, 20, through="both", tile=SMALL)
    assert check(spec, case, "triton-interpreted") == []
    assert check_gradients(spec, case, "triton-interpreted") == []
    assert check_gradients(spec, replace(case, tile=(0, 0))) == []  # by keywords, through autograd


@pytest.mark.parametrize("names", WORST, ids=lambda names: names[0])
@pytest.mark.parametrize("schedule", ["flash2", "backward", "backward_lse"])
def test_a_call_and_its_kernels_mean_the_same_tensors(names: tuple[str, ...], schedule: str) -> None:
    spec = named(names)
    sig, p = signature(spec.canonical_json()), lower_spec(spec, schedule).program
    called = keys(p)
    assert len(set(called.values())) == len(called)
    assert tuple(called[n] for n in p.given) == sig.given(schedule)
    ours = ("o", *sig.lse_parts) if schedule == "flash2" else ("dq", "dk", "dv")
    results = [*map(sig.ours, ours), *(map(sig.gradient, sig.learned) if schedule != "flash2" else ())]
    assert [called[n] for n in p.results] == results


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(words()), 14))
def test_every_word_of_generated_code_is_free(start: int) -> None:
    names = words()[start : start + 14]
    spec, case = named(names), Case(1, 2, 1, 9, 20, tile=SMALL)
    assert check(spec, case, program(SMALL)) == []
    assert check_gradients(spec, case, program_backward(SMALL)) == []
    text = source(p := lower_spec(spec, "backward_lse").program, plan(p)).text
    host = next(n for n in ast.parse(text).body if getattr(n, "name", "") == "backward")
    parameters = {a.arg for a in host.args.args}
    compile(text, "module", "exec")
    called = {n.func.id for n in ast.walk(host) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert parameters >= {*names} - called - {"torch", "triton", *(k.name for k in p.kernels)}


def test_constants_take_every_word_too() -> None:
    names = words()[::40]
    score = " + ".join(["s", *(f"{n} * 0.01" for n in names)])
    spec = AttentionSpec(name="x", head_dim=16, score=score, constants=dict.fromkeys(names, 0.5))
    assert check(spec, Case(1, 1, 1, 9, 20, tile=SMALL), program(SMALL)) == []
