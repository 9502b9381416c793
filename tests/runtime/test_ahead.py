"""What is compiled ahead is what calls run: by the same selection, in the cache, compiled once a host."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import flashgen
from flashgen.driver import emit_source, lower_spec
from flashgen.errors import TensorError
from flashgen.ir.workload import LONG, Workload
from flashgen.plan.plan import KernelPlan, Measured, Plan
from flashgen.plan.select import Compile, proved, rankings
from flashgen.runtime import ahead, patience, variants
from flashgen.runtime.device import known
from flashgen.runtime.launch import Compiled
from flashgen.runtime.signature import signature
from flashgen.runtime.variants import Variants
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target

SMALL = AttentionSpec(name="small", head_dim=16, mask="causal", outputs=["out"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches."""
    monkeypatch.setenv("FLASHGEN_CACHE_DIR", str(tmp_path / "flashgen"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    return tmp_path


def refusing(refuse: int) -> Compile:
    """A compiler that refuses the first so many tilings of each kernel."""
    seen: dict[int, set[KernelPlan]] = {}

    def say(batch: Sequence[tuple[int, Plan]]) -> list[Measured | str]:
        out: list[Measured | str] = []
        for number, plan in batch:
            of = seen.setdefault(number, set())
            of.add(plan.kernels[number])
            out.append(Measured(1024, 255, 600) if len(of) <= refuse else Measured(1024, 128, 0))
        return out

    return say


@pytest.mark.parametrize("refuse", [0, 2])
@pytest.mark.parametrize("work", [LONG, Workload(2, 32, 32, 1000, 1000)], ids=["long", "short"])
@pytest.mark.parametrize("name, schedule", [("causal", "flash2"), ("alibi", "backward")])
def test_a_build_and_a_call_ship_the_same_plan(
    name: str, schedule: str, work: Workload, refuse: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, h100 = load_spec(gallery()[name]), load_target("h100")
    low, text = lower_spec(spec, schedule), spec.canonical_json()
    asked = low.program, h100, "bf16", work
    built = proved(*asked, rankings(*asked, lambda p: emit_source(low, p), compile=refusing(refuse)))
    say = refusing(refuse)

    def compiled(self: Variants, batch: Sequence[tuple[int, Plan]], ask: object) -> list[Compiled | str]:
        return [m if isinstance(m, str) else Compiled(lambda *_: None, m) for m in say(batch)]

    monkeypatch.setattr(Variants, "_compiled", compiled)
    given = ahead.tensors(text, schedule, work, torch.bfloat16, {})
    record, _ = Variants(text, signature(text).names, schedule).get(given, work, known()["h100"], 0)
    assert record.plan.kernels == built.kernels


def no_search(*_: object) -> None:
    raise AssertionError("it was settled before")


def test_what_was_compiled_ahead_is_what_a_call_compiles(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real compiler, for a GPU that is not here: the call finds the selection and Triton's files."""
    backends = pytest.importorskip("triton.backends.compiler")
    text, work = SMALL.canonical_json(), Workload(1, 2, 2, 128, 128)
    ahead.for_target(text, "flash2", work, "h100", "bf16")

    def kept() -> set[str]:
        return {p.name for p in (place / "triton").iterdir()}

    def loaded(built: Any) -> Compiled:
        return Compiled(lambda *_: None, Measured(built.metadata.shared, 64, 0), built.asm["cubin"])

    monkeypatch.setattr(variants, "current_gpu", lambda: backends.GPUTarget("cuda", 90, 32))
    monkeypatch.setattr(variants, "loaded", loaded)
    monkeypatch.setattr(Variants, "_searched", no_search)
    before = kept()
    assert before
    given = ahead.tensors(text, "flash2", work, torch.bfloat16, {})
    Variants(text, (), "flash2").get(given, work, known()["h100"], 0)
    assert kept() == before, "nothing was compiled anew"


def test_processes_compile_once_together(place: Path) -> None:
    code = (
        "import sys, time\n"
        "from flashgen.runtime.cache import entry\n"
        "def make():\n"
        "    open(sys.argv[1], 'a').write('made\\n')\n"
        "    time.sleep(3)\n"
        "    return {'a.txt': 'one'}\n"
        "print(entry({'x': 1}, make, alone=True)[1]['a.txt'])\n"
    )
    log = place / "log"
    command = [sys.executable, "-c", code, str(log)]
    ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate()[0].strip() for p in ranks] == ["one", "one"]
    assert log.read_text() == "made\n"


@pytest.mark.parametrize("quiet, seconds, words", [("", 0.2, True), ("", 0.0, False), ("1", 0.2, False)])
def test_what_takes_long_is_said(
    quiet: str,
    seconds: float,
    words: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(patience, "AFTER_S", 0.05)
    monkeypatch.setenv(patience.QUIET, quiet)
    with patience.said(["compiling x", "compiling y"]):
        time.sleep(seconds)
    said = "flashgen: compiling x\nflashgen: compiling y\n"
    assert capsys.readouterr().err == (said if words else "")


@pytest.mark.parametrize("backward, schedules", [(None, ["flash2", "backward"]), (False, ["flash2"])])
def test_warming_is_for_the_forward_and_the_backward(
    backward: bool | None, schedules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ahead, "for_target", lambda spec, *rest: asked.append(rest))
    attn = flashgen.compile(SMALL, "h100")
    attn.warm((2, 8, 512, 16), (2, 4, 600, 16), dtype=torch.float16, backward=backward)
    work = Workload(2, 8, 4, 512, 600)
    assert asked == [(s, work, "h100", "fp16", {}) for s in schedules]


def test_a_shape_or_an_input_that_does_not_fit_is_named() -> None:
    attn = flashgen.compile(SMALL, "h100")
    with pytest.raises(TensorError, match=r"expected shapes \(batch, heads, seqlen, head_dim\)"):
        attn.warm((2, 8, 512))
    with pytest.raises(TensorError, match="slopes: no input of small"):
        attn.warm((1, 2, 64, 16), slopes=torch.float32)


def test_a_layer_warms_with_the_dtypes_of_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ahead, "for_target", lambda *given: asked.append(given[-1]))
    layer = flashgen.Attention(flashgen.compile("alibi", "h100"), slopes=torch.ones(4).half())
    layer.warm((1, 4, 64, 64))
    assert asked == [{"slopes": torch.float16}] * 2
