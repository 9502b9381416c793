"""Generated kernels compute attention: Triton's interpreter against the oracle, in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flashgen.expr.nodes import Var, integer
from flashgen.interpret.run import run as execute
from flashgen.ir.program import Dot, Load, Loop, Program, Range, Stmt
from flashgen.verify.oracle import oracle

from .building import SPECS, edited, plan, program, source, spec

SHAPES = [(1, 2, 1, 37, 70), (2, 4, 2, 70, 37), (2, 2, 2, 1, 33)]
Result = tuple[list[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def call(name: str, shape: tuple[int, ...], dtype: str = "float32") -> dict[str, Any]:
    """One call of a spec's module."""
    s = spec(name)
    inputs = [(list(i.shape), i.dtype) for i in s.inputs.values()]
    sizes = dict(zip(("B", "Hq", "Hkv", "Nq", "Nk"), shape, strict=True))
    return {**sizes, "d_qk": s.d_qk, "d_v": s.d_v, "inputs": inputs, "dtype": dtype, "seed": sum(shape)}


def run(folder: Path, jobs: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Result]:
    """Results of modules (text, call) by name."""
    lines = []
    for key, (text, asked) in jobs.items():
        path = folder / f"{key}.py"
        path.write_text(text, encoding="utf-8")
        lines.append(json.dumps({"module": str(path), "call": asked}))
    script = Path(__file__).with_name("interpreted.py")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, str(script)], input="\n".join(lines), env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {key: torch.load(folder / f"{key}.py.pt") for key in jobs}


def truth(name: str, result: Result) -> tuple[torch.Tensor, torch.Tensor]:
    (q, k, v, *inputs), _ = result
    return oracle(spec(name), q, k, v, dict(zip(spec(name).inputs, inputs, strict=True)))


def error(got: torch.Tensor, true: torch.Tensor) -> float:
    """The largest difference; equal infinities do not differ, and NaN is as wrong as can be."""
    return (
        torch.where(got == true, 0.0, (got.double() - true).abs())
        .nan_to_num(nan=1e9, posinf=1e9)
        .max()
        .item()
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    jobs = {}
    for name in SPECS:
        for i, shape in enumerate(SHAPES):
            p = program(name)
            made = source(p, plan(p, dtype="fp32", n=16 if i == 1 else 32, group=3 * (i % 2)))
            jobs[f"{name}-{i}"] = (made.text, call(name, shape))
    for name in ("causal_d48", "slopes"):
        jobs[f"{name}-half"] = (source(program(name)).text, call(name, SHAPES[0], "float16"))
        standard = program(name, "standard")
        made = source(standard, plan(standard, dtype="fp32"))
        jobs[f"{name}-standard"] = (made.text, call(name, SHAPES[0]))
    jobs["plain-noqueries"] = (source(program("plain")).text, call("plain", (2, 2, 2, 0, 5), "float16"))
    jobs["plain-nokeys"] = (source(program("plain")).text, call("plain", (2, 2, 2, 5, 0), "float16"))
    return run(tmp_path_factory.mktemp("modules"), jobs)


@pytest.mark.parametrize("i", range(len(SHAPES)))
@pytest.mark.parametrize("name", SPECS)
def test_fp32_equals_the_oracle(results: dict[str, Result], name: str, i: int) -> None:
    result = results[f"{name}-{i}"]
    for got, true in zip(result[1][:2], truth(name, result), strict=True):
        assert error(got, true) < 3e-5


@pytest.mark.parametrize("name", ["causal_d48", "slopes"])
def test_fp16_is_as_good_as_fp16(results: dict[str, Result], name: str) -> None:
    result = results[f"{name}-half"]
    assert result[1][0].dtype == torch.float16
    assert result[1][1].dtype == torch.float32
    for got, true in zip(result[1][:2], truth(name, result), strict=True):
        assert error(got, true) < 4e-3


@pytest.mark.parametrize("name", ["causal_d48", "slopes"])
def test_several_kernels_with_workspaces(results: dict[str, Result], name: str) -> None:
    result = results[f"{name}-standard"]
    for got, true in zip(result[1][:2], truth(name, result), strict=True):
        assert error(got, true) < 3e-5


def test_nothing_to_do(results: dict[str, Result]) -> None:
    assert results["plain-noqueries"][1][0].shape == (2, 2, 0, 32)
    out, lse = results["plain-nokeys"][1]
    assert (out == 0).all()
    assert (lse == -torch.inf).all()


def rewritten(p: Program, change: Any) -> Program:
    """``p`` with every statement passed through ``change``, inside loops too."""

    def go(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(change(replace(s, body=go(s.body)) if isinstance(s, Loop) else s) for s in body)

    return edited(p, body=go(p.kernels[0].body))


def drop_rescale(s: Stmt) -> Stmt:
    if isinstance(s, Dot) and s.contract == "k" and s.acc is not None:
        return replace(s, acc=Var(s.dst.name, "float"))
    return s


def shift_bound(s: Stmt) -> Stmt:
    if isinstance(s, Loop) and s.mask == "partial":
        return replace(s, domain=tuple(Range(r.lo, integer(1)) for r in s.domain))
    return s


def swap_operands(s: Stmt) -> Stmt:
    if isinstance(s, Load) and s.src in ("k", "v"):
        return replace(s, src="v" if s.src == "k" else "k")
    return s


@pytest.mark.parametrize("change", [drop_rescale, shift_bound, swap_operands])
def test_the_program_is_what_runs(change: Any, tmp_path: Path) -> None:
    """A changed ``Program`` changes the interpreter's result and the printed kernel's, and alike."""
    p = program("plain")
    changed = rewritten(p, change)
    assert changed != p
    jobs = {
        "honest": (source(p, plan(p, dtype="fp32")).text, call("plain", SHAPES[0])),
        "changed": (source(changed, plan(p, dtype="fp32")).text, call("plain", SHAPES[0])),
    }
    found = run(tmp_path, jobs)
    true = truth("plain", found["honest"])
    assert error(found["honest"][1][0], true[0]) < 3e-5
    assert error(found["changed"][1][0], true[0]) > 1e-2
    tensors = dict(zip("qkv", found["changed"][0], strict=True))
    executed = execute(changed, dict(plan(p).kernels[0].sides), tensors)
    assert error(found["changed"][1][0], executed["o"].double()) < 3e-5


def test_descriptors_read_what_pointers_read(tmp_path: Path) -> None:
    """Loads by tensor descriptors, past the end of K too, in the interpreter."""
    p = program("causal_d48")
    pointers = plan(p, dtype="fp32")
    described = replace(pointers, kernels=tuple(replace(k, loads="descriptor") for k in pointers.kernels))
    text = source(p, described).text
    assert "_desc.load(" in text
    jobs = {
        "pointers": (source(p, pointers).text, call("causal_d48", SHAPES[0])),
        "described": (text, call("causal_d48", SHAPES[0])),
    }
    found = run(tmp_path, jobs)
    for got, expected in zip(found["described"][1], found["pointers"][1], strict=True):
        assert error(got, expected.double()) < 1e-6
