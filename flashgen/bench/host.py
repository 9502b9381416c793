"""The host suite: what a call costs on the CPU side, and what compiling and importing cost.

Imports and caches are per process, so those figures are taken in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from flashgen.spec.gallery import gallery

from . import contenders
from .cases import Case, Shape, spec_of, table
from .clock import host_us
from .contenders import draw
from .report import Figure
from .suites import Session

_IMPORT = """
import torch, time
start = time.perf_counter()
import flashgen
flashgen.compile
print(1e3 * (time.perf_counter() - start))
"""

_COMPILE = """
import sys, time
import torch, flashgen
compile = flashgen.compile
start = time.perf_counter()
compile(sys.argv[1], target=sys.argv[2])
print(1e3 * (time.perf_counter() - start))
"""

_SOURCE = """
import sys, time
from flashgen.driver import emit_source, lower_spec, plan_for
from flashgen.targets.target import load_target
from flashgen.spec.load import load_spec
from flashgen.spec.gallery import gallery

def source(spec):
    lowered = lower_spec(load_spec(spec))
    return emit_source(lowered, plan_for(lowered, load_target(sys.argv[2]), "bf16"))

path = gallery()[sys.argv[1]]
source(path)  # imports and templates are loaded once
text = path.read_text().replace("name: " + sys.argv[1], "name: another", 1)
start = time.perf_counter()
source(text)
print(1e3 * (time.perf_counter() - start))
"""


def _process(code: str, *args: str) -> float:
    """The number that ``code`` prints last, run by a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
    return float(done.stdout.split()[-1])


def run(session: Session) -> None:
    """All host figures; each that fails is a remark, not the end."""
    t: dict[str, Any] = table()["host"]
    goals: dict[str, float] = t["at_most"]
    spec, shape = spec_of(t["spec"], t["set"]), Shape(**t["shape"])
    case = Case("host", t["spec"], spec, shape)
    calls = 200 if session.device != "cpu" else 5

    data = draw(spec, shape, session.device, session.dtype, seed=1)
    runs, missing = contenders.assemble(case, data, session.peers)
    session.report.problems.extend(f"host: {name}: {why}" for name, why in missing.items())
    for name, call in runs.items():
        session.say(f"host time of {name}")
        goal = goals["call_us"] if name == contenders.OURS else None
        us = host_us(call, session.device, calls)
        session.report.figures.append(Figure("host", case.label, f"a call of {name}", us, "us", goal))

    path = str(gallery()[t["spec"]])
    probes = {
        "import_ms": ("import flashgen, after torch", _IMPORT, ()),
        "spec_to_source_ms": ("spec to source", _SOURCE, (t["spec"], t["target"])),
        "warm_compile_ms": ("warm flashgen.compile", _COMPILE, (path, t["target"])),
    }
    for key, (what, code, args) in probes.items():
        session.say(what)
        try:
            _process(code, *args)  # fills the cache, and the pages of the files
            ms = min(_process(code, *args) for _ in range(3))
        except Exception as e:  # reported, so that the other figures still come
            session.report.problems.append(f"host: {what}: {e}")
            continue
        session.report.figures.append(Figure("host", t["spec"], what, ms, "ms", goals[key]))
    session.save()
