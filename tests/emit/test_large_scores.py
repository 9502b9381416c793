"""Generated kernels take scores as large as numbers get: Triton's interpreter, beside torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from flashgen.driver import lower_spec
from flashgen.runtime.module import load
from pathlib import Path
from tests.emit.building import plan, source
from tests.schedule.large import BIASED, SUNK, assert_right, expected, given_to

for spec in (BIASED, SUNK):
    given = given_to(spec)
    want = expected(given, through_lse=True)
    for schedule in ("flash2", "backward_lse"):
        program = lower_spec(spec, schedule).program
        text = source(program, plan(program, "fp32", 16, 16)).text
        path = Path(sys.argv[1], f"{spec.name}_{schedule}.py")
        path.write_text(text)
        module = load(path, text)
        taken = [given[t.name] for t in program.tensors if t.role not in ("out", "workspace")]
        found = (module.forward if schedule == "flash2" else module.backward)(*taken)
        found = dict(zip([t.name for t in program.tensors if t.role == "out"], found, strict=True))
        assert_right(found, want)
        given |= found
"""


def test_rows_of_any_size(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
