"""A process of its own for Triton's interpreter: one line of JSON per case in, one per answer out.

Triton decides at import whether it interprets, and an interpreted program that reads far out of bounds
takes its process with it. The process is kept for many cases, since its imports cost seconds.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import tempfile
from functools import cache
from typing import IO, Any, Literal, TypeAlias

from flashgen.errors import CannotRun
from flashgen.spec.model import AttentionSpec

from .case import Case
from .environment import need_interpreter
from .errors import Finding

TIMEOUT_S = 300.0
#: What to check: ``check``, ``check_gradients`` or ``check_dropout``.
What: TypeAlias = Literal["results", "gradients", "dropout"]


class WorkerError(RuntimeError):
    """The case raised in the worker, or the worker died or hung over it."""


class Worker:
    """The parent's end. Starts the process at the first case, and again after a crash."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] | None = None

    def check(
        self, spec: AttentionSpec, case: Case, what: What = "results", schedule: str | None = None
    ) -> list[Finding]:
        """The findings of ``case`` on the interpreted kernels of a schedule. Raises ``WorkerError``, and
        ``CannotRun`` where no kernel can be interpreted."""
        request = {"spec": spec.canonical_json(), "case": case.to_json(), "what": what}
        answer = self._ask(request | ({} if schedule is None else {"schedule": schedule}))
        if "error" in answer:
            raise WorkerError(answer["error"])
        return [Finding(**{**f, "where": tuple(f["where"])}) for f in answer["findings"]]

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None

    def start(self) -> subprocess.Popen[bytes]:
        """The process, started where there is none. Raises ``CannotRun`` where it can interpret no kernel."""
        if self.process is None or self.process.poll() is not None:
            need_interpreter()
            self.log = _log()
            env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flashgen.verify.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=env,
            )  # fmt: skip
            atexit.register(self.close)
            said = self._answer(self.process)
            if said.get("cannot"):
                self.close()
                raise CannotRun(said["cannot"])
        return self.process

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self.start()
        assert process.stdin
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended, and left words
        return self._answer(process)

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The next line that the process writes. Raises ``WorkerError`` where none comes."""
        assert process.stdout
        assert self.log
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            if not ready.select(self.timeout_s):
                self.close()
                raise WorkerError(f"no answer within {self.timeout_s:.0f} s")
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.process = None
            self.log.seek(0)
            tail = self.log.read().decode(errors="replace").strip()[-1500:]
            raise WorkerError(f"the interpreter's process ended with status {code}: {tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _log() -> IO[bytes]:
    """Where the process's words go; into memory where there is no folder to write to."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return os.fdopen(os.memfd_create("log"), "w+b")


@cache
def shared_worker() -> Worker:
    """One worker for the whole process."""
    return Worker()


def interpreter_fault_here() -> str:
    """Why no kernel can be interpreted here, asked of a process of its own; nothing where one can."""
    try:
        shared_worker().start()
    except CannotRun as error:
        return str(error)
    return ""


def main() -> None:
    """The worker's end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not talk into the protocol

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    import torch

    torch.set_num_threads(1)
    from .environment import interpreter_fault

    say({"cannot": interpreter_fault()})  # first, so that the environment's faults are no case's
    from dataclasses import asdict

    from .check import check_dropout_interpreted, check_gradients_interpreted, check_interpreted

    checks = {
        "results": check_interpreted,
        "gradients": check_gradients_interpreted,
        "dropout": check_dropout_interpreted,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            spec = AttentionSpec.from_json(request["spec"])
            named = {"schedule": request["schedule"]} if "schedule" in request else {}
            found = checks[request["what"]](spec, Case.from_json(request["case"]), **named)
            answer: dict[str, Any] = {"findings": [asdict(f) for f in found]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer)


if __name__ == "__main__":
    main()
