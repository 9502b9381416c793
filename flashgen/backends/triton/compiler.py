"""Compile one generated kernel for a GPU that need not be there, and say what it takes.

Runs as a process of its own (``python -m flashgen.backends.triton.compiler < job.json``): some combinations
abort the compiler, and one that hangs must be killed. Nothing of Triton is imported by the planner itself.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .miscompiled import wrong_operands


def compile_job(job: dict[str, Any]) -> dict[str, Any]:
    """The compiler's numbers for a job: ``text`` of a module, ``kernel`` in it, its ``signature``,
    ``constants`` and ``aligned`` arguments (number, multiple), ``arch``, ``warp_size``, warps, stages,
    ``max_registers`` (0: no limit)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.py"
        path.write_text(job["text"], encoding="utf-8")
        spec = importlib.util.spec_from_file_location("candidate", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        source = ASTSource(
            fn=getattr(module, job["kernel"]),
            signature=dict(job["signature"]),
            constexprs={(i,): v for i, v in job["constants"]},
            attrs={(i,): [["tt.divisibility", n]] for i, n in job["aligned"]},
        )
        hip = job["arch"].startswith("gfx")
        arch = job["arch"] if hip else int(job["arch"].removeprefix("sm_"))
        target = GPUTarget("hip" if hip else "cuda", arch, job["warp_size"])
        options = {"num_warps": job["num_warps"], "num_stages": job["num_stages"]}
        if job["max_registers"]:
            options["maxnreg"] = job["max_registers"]
        compiled = triton.compile(source, target=target, options=options)
        if hip:
            registers, spill = _amd(compiled.asm["amdgcn"])
        else:
            code = disassembled(compiled.asm["cubin"])
            if wrong := wrong_operands(code):
                return {"error": wrong}
            registers, spill = _nvidia(code)
        return {
            "smem_bytes": int(compiled.metadata.shared),
            "registers": registers,
            "spill_bytes": spill,
            "triton": triton.__version__,
        }


def disassembled(cubin: bytes) -> str:
    """What ``cuobjdump``, which Triton brings along, says of a compiled kernel: resources, instructions."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", "-sass", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _nvidia(said: str) -> tuple[int, int]:
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    if found is None:
        raise RuntimeError(f"no resource usage in: {said[:200]}")
    return int(found[1]), int(found[2])


def _amd(text: str) -> tuple[int, int]:
    def number(key: str) -> int:
        found = re.search(rf"\.{key}:\s*(\d+)", text)
        return int(found[1]) if found else 0

    # Accumulation registers are part of the unified file's vgpr_count.
    return number("vgpr_count"), 4 * number("vgpr_spill_count")


def _first_line(e: BaseException) -> str:
    text = str(e).strip()
    return f"{type(e).__name__}: {text.splitlines()[0] if text else ''}"[:300]


def main() -> None:
    """Read a job on stdin, write its numbers (or ``error``, or ``cannot`` where nothing can be compiled
    here) as one line of JSON, last on stdout."""
    job = json.load(sys.stdin)
    try:
        answer = compile_job(job)
    except (ImportError, OSError) as e:  # says nothing about any candidate
        answer = {"cannot": f"nothing can be compiled here: {_first_line(e)}"}
    except MemoryError as e:  # nor this
        answer = {"error": _first_line(e), "passing": True}
    except Exception as e:  # whatever else Triton raises refutes it
        answer = {"error": _first_line(e)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
