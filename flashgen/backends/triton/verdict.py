"""What the compiler makes of one generated kernel, for a target that need not be there.

Each compile is a process of its own, which may crash or run out of time; what it said is kept on disk by
everything that decides it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashgen.errors import CannotRun
from flashgen.ir.program import Program
from flashgen.plan.backend import Verdict
from flashgen.plan.plan import Measured, Plan
from flashgen.plan.source import Module
from flashgen.resources import cache_folder
from flashgen.targets.target import Target
from flashgen.toolchain import cache_for_triton, need_triton, triton_version

from .specialise import Kind, contiguous, specialise

#: Seconds one compile may take: 256-row fp32 tiles can need a minute.
TIMEOUT_S = 120.0


def job(
    program: Program, module: Module, kernel: int, plan: Plan, target: Target,
    kinds: Mapping[str, Kind] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What ``compiler`` needs for a kernel; ``kinds`` of its tensors: by default of 16-byte aligned
    contiguous ones."""
    k = module.kernels[kernel]
    types, constants, attributes = specialise(k.args, kinds or contiguous(program, plan.dtype))
    p = plan.kernels[kernel]
    return {
        "text": module.text, "kernel": k.name, "signature": list(types.items()),
        "constants": [[i, value] for (i,), value in constants.items()],
        "aligned": [[i, n] for (i,), ((_, n),) in attributes.items()],
        "arch": target.arch, "warp_size": target.warp_size, "num_warps": p.num_warps,
        "num_stages": p.num_stages, "max_registers": p.max_registers,
    }  # fmt: skip


def compiled(work: Mapping[str, Any]) -> Verdict:
    """The verdict on one job: from the cache, or by a process that may crash or run out of time. Raises
    ``CannotRun`` where there is no compiler."""
    need_triton("compiling kernels", "plans follow from the model alone (build --no-confirm, explain)")
    path = cache_folder() / "compiled" / f"{_key(work)}.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = _run(work)
        if "cannot" in known:
            raise CannotRun(known["cannot"]) from None
        if not known.get("passing"):
            _keep(path, known)
    if "error" in known:
        return Verdict(None, str(known["error"]))
    numbers = Measured(known["smem_bytes"], known["registers"], known["spill_bytes"])
    return Verdict(numbers)


def _run(work: Mapping[str, Any]) -> dict[str, Any]:
    cache_for_triton()  # here, so that a temporary one is removed though its users be killed
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    here = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, here))
    command = [sys.executable, "-m", "flashgen.backends.triton.compiler"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(work),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"did not compile within {TIMEOUT_S:g} s"}
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return dict(answer)
    except (ValueError, IndexError):
        if "No module named" in done.stderr:
            return {"cannot": f"nothing can be compiled here: {done.stderr.strip().splitlines()[-1]}"}
        return {"error": f"the compiler ended with status {done.returncode}"}


def _key(work: Mapping[str, Any]) -> str:
    # The version of the rules here is part of the key: a verdict's fields may change.
    text = json.dumps([4, triton_version(), work], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _keep(path: Path, answer: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(answer, file, sort_keys=True)
        os.replace(name, path)
    except OSError:
        pass  # a cache that cannot be written only costs time
