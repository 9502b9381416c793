"""Whether Triton's interpreter works here at all, so that its faults are not taken for a kernel's."""

from __future__ import annotations

from flashgen.toolchain import need_triton, triton_version

#: What every message about it ends with.
INSTEAD = "the program itself runs on CPU tensors (`verify --backend cpu`)"


def need_interpreter() -> None:
    """Raise ``CannotRun`` where Triton is missing altogether."""
    need_triton("Triton's interpreter", INSTEAD)


def interpreter_fault() -> str:
    """Why this process, started with ``TRITON_INTERPRET=1``, can interpret no kernel, and what would work;
    nothing where it can. A kernel written by hand decides."""
    try:
        import numpy

        from .sample import wrong

        found = wrong()
    except Exception as error:  # whatever keeps a plain kernel from running
        cause = error.__cause__ or error
        found = f"{type(cause).__name__}: {cause}"
    if not found:
        return ""
    return (
        f"Triton {triton_version()}'s interpreter does not work here: a plain kernel written by hand fails "
        f"({found.splitlines()[0]}). The numpy beside it is {numpy.__version__}: an older numpy or a newer "
        f"Triton may work (Triton 3.6.0 needs numpy<2.4); without it {INSTEAD}"
    )
