"""Names of inputs, against the names of generated code.

Modules are generated with inputs of unlikely names. What stands around such a name in an identifier says
which names an input must not have: those that make it one of the identifiers beside it. So the names of
kernels are read off the kernels, and one that is new cannot be forgotten here.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from flashgen.driver import SCHEDULES, lower_spec
from flashgen.errors import SpecError
from flashgen.ir.program import Program, statements
from flashgen.runtime.api import CompiledAttention
from flashgen.spec.model import AttentionSpec
from flashgen.spec.names import gradient_name_problem, spec_name_problem, value_name_problem

from ..emit.building import plan, source

#: The spec's name, and those of inputs.
SPEC, INPUTS = "unlikely", ("Zzz", "Yyy", "Www")
#: What follows an input's name where it is read: its indices (x: computed), a number where there are more.
READ = re.compile(r"(.+)_(hkv|[bhqkx])+\d*")


def spec(inputs: dict[str, tuple[Any, ...]], **fields: Any) -> AttentionSpec:
    """A spec whose inputs are learned, unless a dtype ends their shapes."""
    declared = {
        name: {"shape": s[:-1], "dtype": s[-1]} if s[-1] in ("int", "bool") else {"shape": s, "grad": True}
        for name, s in inputs.items()
    }
    return AttentionSpec(**{"name": SPEC, "head_dim": {"qk": 48, "v": 24}, "inputs": declared, **fields})


#: Together they reach every way to sum a gradient, every kind of loop, dropout and a sink.
SPECS = [
    spec(
        {"Zzz": ("heads", "seqlen_q", "seqlen_k"), "Yyy": ("seqlen_q", "seqlen_k"), "Www": ("heads",)},
        score="s + Zzz[h, q, k] + Yyy[q, k]", mask="causal", sink="Www[h]", dropout=0.1,
    ),
    spec(
        {"Zzz": ("batch", "heads", "seqlen_q"), "Yyy": ("batch", "seqlen_k"), "Www": ("heads", 16)},
        score="exp(s / 3) * Zzz[b, h, q] + Yyy[b, k] + Www[h, max(min(k - qpos, 15), 0)]",
        mask="window(20, 3) | (k < 4)", dropout=0.5,
    ),
    spec(
        {"Zzz": ("heads", 16), "Yyy": ("heads", "seqlen_k"), "Www": ("heads", 16, 2)},
        score="s + Zzz[h, q // 16] * Zzz[h, 0] + Yyy[h, k - 1] - Yyy[hkv, k + 1]"
        " + Www[h, min(abs(k - qpos), 15), b % 2]",
    ),
    spec(
        {"Zzz": ("kv_heads", "seqlen_q", "seqlen_k"), "Yyy": ("batch", "seqlen_q", "int"),
         "Www": ("batch", "seqlen_k", "int")},
        score="s * Zzz[hkv, q, k] * Zzz[hkv, q, 0]", mask="Yyy[b, q] == Www[b, k]",
    ),
    spec(
        {"Zzz": ("batch", "int"), "Yyy": ("batch", "seqlen_k", "bool"), "Www": ("seqlen_q", "int")},
        score="softcap(s, 5.0)", mask="(k < Zzz[b]) & Yyy[b, k] & (chunked(64) | (k < Www[q]))",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Around:
    """What stands before and behind the name of an input (or the spec) in an identifier."""

    before: str
    name: str
    behind: str

    def hit(self, other: str) -> str | None:
        """The name that makes this identifier ``other``."""
        if len(other) <= len(self.before + self.behind):
            return None
        fits = other.startswith(self.before) and other.endswith(self.behind)
        return other[len(self.before) : len(other) - len(self.behind)] if fits else None


def around(identifier: str) -> Around | None:
    """``identifier`` cut at the one input in it; the spec's name counts where no input does."""
    inside = [n for n in INPUTS if n in identifier] or [SPEC] * (SPEC in identifier)
    if not inside:
        return None
    before, behind = identifier.split(inside[0], 1)
    return Around(before, inside[0], behind)


@cache
def scopes() -> tuple[frozenset[str], ...]:
    """Sets of identifiers that must differ: of each module, of its functions, and of programs."""
    found = []
    for given, schedule in itertools.product(SPECS, SCHEDULES):
        program = lower_spec(given, schedule).program
        found += [frozenset(s) for s in _of_program(program)]
        for group, loads in ((0, "pointer"), (4, "descriptor")):
            whole = plan(program, group=group)
            kernels = tuple(replace(k, loads=loads) for k in whole.kernels)
            found += [frozenset(s) for s in _of_module(source(program, replace(whole, kernels=kernels)).text)]
    return tuple(dict.fromkeys(found))


def _of_program(program: Program) -> Iterator[set[str]]:
    yield {t.name for t in program.tensors}
    for k in program.kernels:
        written = [s for s in statements(k.body) if type(s).__name__ != "Store"]
        names = {getattr(getattr(s, "dst", s), "name", None) or getattr(s, "var", "") for s in written}
        yield names | {a.name for a in (*k.grid, *k.axes)}


def _of_module(text: str) -> Iterator[set[str]]:
    tree = ast.parse(text)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    imports = [a for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names]
    yield {f.name for f in functions} | {a.asname or a.name.split(".")[0] for a in imports}
    for f in functions:
        nodes = list(ast.walk(f))
        yield {n.id for n in nodes if isinstance(n, ast.Name)} | {
            n.arg for n in nodes if isinstance(n, ast.arg)
        }


def test_the_specs_reach_what_names_are_made_of() -> None:
    every = {i for s in scopes() for i in s}
    shapes = {(a.before, a.behind) for i in every if (a := around(i))}
    sums = {("d", f"_{kind}") for kind in ("rows", "columns", "table", "dense")}
    assert sums | {("", ""), ("d", ""), ("", "_ptr"), ("", "_base"), (f"{SPEC}_bwd_", "")} <= shapes
    assert {"dq", "dk", "dv", "dlse", "delta", "lse2", "entry", "seed", "dropout_keep", "backward"} <= every


def test_no_input_can_take_a_name_of_generated_code() -> None:
    clashes = set()
    for scope in scopes():
        fixed = [i for i in scope if around(i) is None or around(i).name == SPEC]  # type: ignore[union-attr]
        for a, other in itertools.product(filter(None, map(around, scope)), fixed):
            name = a.hit(other)
            if name and a.name != SPEC and value_name_problem(name, SPEC) is None:
                clashes.add((name, other))
    assert not clashes


def test_no_read_can_take_a_name_of_generated_code() -> None:
    """Whatever its indices are."""
    free = {i for s in scopes() for i in s if around(i) is None}
    found = [(m[1], i) for i in free if (m := READ.fullmatch(i))]
    assert not [pair for pair in found if value_name_problem(pair[0], SPEC) is None]


def test_no_spec_can_take_a_name_of_generated_code() -> None:
    for scope in scopes():
        fixed = [i for i in scope if around(i) is None]
        for a, other in itertools.product(filter(None, map(around, scope)), fixed):
            name = a.hit(other)
            assert a.name != SPEC or not name or spec_name_problem(name), (name, other)


def test_no_two_inputs_make_one_name() -> None:
    """Nor an input and the gradient of another."""
    clashes = set()
    for scope in scopes():
        every = [
            a for a in map(around, scope) if a and a.name != SPEC and not any(n in a.behind for n in INPUTS)
        ]
        for a, b in itertools.permutations(every, 2):
            name = b.hit(f"{a.before}first{a.behind}") if a.name != b.name else None
            if name in (None, "first") or value_name_problem(name, SPEC):
                continue
            if not gradient_name_problem(name, ["first"]):
                clashes.add((name, a, b))
    assert not clashes


@pytest.mark.parametrize(
    "name", [n for n in inspect.signature(CompiledAttention.__call__).parameters if n != "inputs"]
)
def test_no_input_takes_an_argument_of_the_call(name: str) -> None:
    assert value_name_problem(name)


@pytest.mark.parametrize(
    "name", ["plain_fwd", "plain_bwd_dq", "plain_bwd_any", "TensorDescriptor", "S", "dkv", "elta", "seed"]
)
def test_other_names_of_generated_code(name: str) -> None:
    assert value_name_problem(name, "plain")
    with pytest.raises(SpecError, match="generated"):
        AttentionSpec(name="plain", head_dim=16, inputs={name: {"shape": ["heads"]}}, score=f"s + {name}[h]")


@pytest.mark.parametrize(
    "name, what",
    [
        ("clip", "a function of"),
        ("tanh", "a function of"),
        ("lt", "the name of an operator of"),
        ("q", "a variable of"),
    ],
)
def test_a_taken_name_is_called_what_it_is(name: str, what: str) -> None:
    assert f"`{name}` is {what} the expression language" in str(value_name_problem(name))


@pytest.mark.parametrize("name", ["dbias", "dbias_rows", "bias_rows", "bias_columns1", "dbias_table"])
def test_an_input_is_not_called_like_the_gradient_of_another(name: str) -> None:
    inputs: dict[str, Any] = {"bias": {"shape": ["heads"], "grad": True}, name: {"shape": ["heads"]}}
    fields: dict[str, Any] = {"name": "plain", "head_dim": 16, "score": f"s + bias[h] + {name}[h]"}
    with pytest.raises(SpecError, match=f"`{name}` and the gradient of `bias` have one name"):
        AttentionSpec(**fields, inputs=inputs)
    AttentionSpec(**fields, inputs=inputs | {"bias": {"shape": ["heads"]}})


@pytest.mark.parametrize(
    "name",
    [
        "slopes",
        "values",
        "shared_bias",
        "program",
        "len",
        "other_fwd",
        "table",
        "keep",
        "row",
        "visible",
        "total",
    ],
)
def test_names_that_are_free(name: str) -> None:
    assert value_name_problem(name, "plain") is None
