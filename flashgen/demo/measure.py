"""One case on one backend: its errors and plain PyTorch's, both against the fp64 oracle.

Also the program of the process that runs a written kernel in Triton's interpreter, which Triton turns on
at its import or not at all: ``python -m flashgen.demo.measure KERNEL SPEC_JSON CASE_JSON``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from flashgen.errors import FlashgenError
from flashgen.spec.model import AttentionSpec
from flashgen.verify.case import Case
from flashgen.verify.errors import Errors, judge, measure
from flashgen.verify.oracle import truth
from flashgen.verify.plain import plain

#: q, k, v and inputs to ``out`` and ``lse``.
Run = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Result:
    """Errors of ``out``, ours and plain PyTorch's; what ``flashgen verify`` would object to; seconds."""

    ours: Errors
    plain: Errors
    findings: tuple[str, ...]
    seconds: float


def run(spec: AttentionSpec, case: Case, call: Run, device: str = "cpu") -> Result:
    """``call`` on the tensors of ``case``."""
    q, k, v, inputs = case.tensors(spec, device)
    start = time.perf_counter()
    out, lse = call(q, k, v, **inputs)
    out, lse = out.cpu(), lse.cpu()
    seconds = time.perf_counter() - start
    q, k, v, *rest = (x.cpu() for x in (q, k, v, *inputs.values()))
    inputs = dict(zip(inputs, rest, strict=True))
    true = truth(spec, q, k, v, inputs)
    plain_out, plain_lse = plain(spec, q, k, v, inputs)
    found = judge(out, lse, true, plain_out, plain_lse, tf32=spec.tf32)
    return Result(measure(out, true.out), measure(plain_out, true.out), tuple(map(str, found)), seconds)


def interpreted(spec: AttentionSpec, case: Case, kernel: Path) -> Result:
    """The module ``kernel`` in Triton's interpreter, in a process of its own."""
    command = [sys.executable, "-m", __name__, str(kernel), spec.canonical_json(), json.dumps(case.to_json())]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise FlashgenError(f"{kernel} failed in Triton's interpreter:\n{done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(
        Errors(**found["ours"]), Errors(**found["plain"]), tuple(found["findings"]), found["seconds"]
    )


def _main(kernel: str, spec_json: str, case_json: str) -> None:
    loader = importlib.util.spec_from_file_location("written_kernel", kernel)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    result = run(AttentionSpec.from_json(spec_json), Case.from_json(json.loads(case_json)), module.forward)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
