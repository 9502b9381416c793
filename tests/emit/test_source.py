"""A generated module is text that a person can read, paste elsewhere, and trust."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from flashgen.backends.triton.emit.source import Provenance
from flashgen.backends.triton.emit.triton import emit
from flashgen.plan.plan import Plan

from .building import SPECS, plan, program, source, spec

WIDTH = 100


@pytest.mark.parametrize("schedule", ["flash2", "standard", "flash1"])
@pytest.mark.parametrize("name", SPECS)
def test_a_module_is_readable_and_stands_alone(name: str, schedule: str) -> None:
    made = source(program(name, schedule))
    tree = ast.parse(made.text)
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported == {"torch", "triton", "triton.language"}
    assert not any(isinstance(n, ast.ImportFrom) for n in ast.walk(tree))
    assert not [line for line in made.text.splitlines() if len(line) > WIDTH or line != line.rstrip()]
    for f in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
        used = {n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        unused = {a.arg for a in f.args.args} - used
        assert not unused, f"{f.name} does not use {unused}"
        assigned = {n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        assert assigned - used <= {"_"}, f"{f.name} assigns {assigned - used} for nothing"
        assert not any(isinstance(n, ast.If) for n in ast.walk(f)) or not f.decorator_list  # host functions


@pytest.mark.parametrize("name", ["causal_d48", "sinks", "buckets"])
def test_the_source(name: str, golden: Callable[..., None]) -> None:
    golden(source(program(name), plan(program(name), m=64, n=32, group=4)).text, ".py.txt")


def test_the_source_of_several_kernels(golden: Callable[..., None]) -> None:
    golden(source(program("capped_window", "standard")).text, ".py.txt")


def test_emitting_is_deterministic_and_names_its_spec_and_plan() -> None:
    p = program("slopes")
    one, two = source(p), source(program("slopes"))
    assert one == two
    other = emit(p, plan(p), Provenance('{"other": 1}', "A test."))
    assert other.text != one.text
    assert source(p, plan(p, n=64)).text != one.text
    assert "BLOCK_M 32 x BLOCK_N 32" in one.text
    assert "score" in emit(p, plan(p), Provenance("{}", score="s + 1")).text


HOSTILE = [
    'a """\nimport os\nos.abort()\n"""',
    "back\\slash \\N{DIGIT ONE} \\x41 \\",
    'ends with a quote "',
    "nul \0 escape \x1b feed \x0c line \u2028 next",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_description_is_never_code(text: str) -> None:
    p = program("plain")
    tree = ast.parse(source(p, description=text).text)
    assert ast.dump(ast.Module(tree.body[1:], [])) == ast.dump(
        ast.Module(ast.parse(source(p, description="tame").text).body[1:], [])
    )


def test_a_manifest_is_plain_data() -> None:
    made = source(program("pair_bias"))
    manifest = json.loads(json.dumps(made.manifest))
    assert manifest["name"] == "pair_bias"
    assert manifest["tensors"][3] == {
        "name": "bias",
        "dims": ["B", "Hq", "Nq", "Nk"],
        "dtype": "acc",
        "role": "input",
    }
    assert Plan.from_json(json.dumps(manifest["plan"])).dtype == "fp16"
    assert [a["name"] for a in manifest["kernels"][0]["args"]] == [a.name for a in made.kernels[0].args]


def test_a_manifest_holds_no_json_in_strings() -> None:
    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from strings(part)

    p = program("pair_bias")
    made = emit(p, plan(p), Provenance('{"name": "pair_bias"}'))
    found = list(strings(json.loads(json.dumps(made.manifest))))
    assert not [x for x in found if x.lstrip().startswith(("{", "["))]
    assert made.manifest["spec"] == {"name": "pair_bias"}


def test_lengths_are_never_compiled_in() -> None:
    made = source(program("causal_d48"), plan(program("causal_d48"), group=4))
    (kernel,) = made.kernels
    assert set(kernel.unspecialised) == {"B", "Hq", "Hkv", "Nq", "Nk", "head_group"}
    names = ", ".join(f'"{n}"' for n in kernel.unspecialised)
    assert f"do_not_specialize=[{names}]" in made.text


def test_only_bases_have_64_bits() -> None:
    text = source(program("pair_bias")).text
    for line in text.splitlines():
        for product in re.findall(r"(\w+)(?:\[[^]]*\])?\.to\(tl\.int64\)", line):
            assert product in ("b", "h", "hkv", "q_lo"), line


def test_strides_say_how_far_they_reach_in_32_bits() -> None:
    args = {a.name: a for a in source(program("pair_bias")).kernels[0].args}
    assert args["stride_q_n"].reach == 31
    assert args["stride_bias_q"].reach == 31
    assert args["stride_bias_b"].reach == 0


def test_fp32_dots_say_how_they_multiply() -> None:
    p = program("plain")
    assert source(p).text.count("input_precision") == 0
    exact = source(p, plan(p, dtype="fp32")).text
    assert exact.count('input_precision="ieee"') == exact.count("tl.dot(")


def test_full_tiles_carry_no_mask_code() -> None:
    text = source(program("causal_d48")).text
    full = text[text.index("# full tiles") : text.index("# partial tiles")]
    partial = text[text.index("# partial tiles") : text.index("l_inv")]
    assert "float(" not in full
    assert "k[None, :] <" not in full
    assert "k[None, :] <" in partial


def test_a_plan_must_fit_the_program() -> None:
    p = program("plain")
    with pytest.raises(AssertionError, match="one entry per kernel"):
        source(p, replace(plan(p), kernels=()))


def test_specs_here_are_sound() -> None:
    assert all(spec(n).name == n for n in SPECS)


@pytest.mark.parametrize("schedule", ["flash1", "flash1_backward"])
def test_what_a_pass_writes_the_next_may_read(schedule: str) -> None:
    """After the first values, and after each tile of keys, all threads wait for one another."""
    text = source(program("causal_d48", schedule)).text
    assert len(re.findall(r"^    tl.debug_barrier\(\)$", text, re.M)) == 1
    assert len(re.findall(r"^        tl.debug_barrier\(\)$", text, re.M)) == 1
