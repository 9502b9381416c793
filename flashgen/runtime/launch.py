"""From a generated kernel to a compiled one on a device, and the shortest way to launch it.

Triton's own launch looks at every argument to find what to specialise on. Here that is settled once per
layout: types, 16-byte alignment of each tensor, unit strides. Lengths are plain 32-bit arguments, so a new
length never compiles anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flashgen.backends.triton.specialise import Kind, specialise
from flashgen.errors import CannotRun
from flashgen.plan.plan import Measured
from flashgen.toolchain import cache_for_triton, need_triton

from .module import load
from .record import Launch, Record

_LAUNCHER = ("self", "gridX", "gridY", "gridZ", "stream", "function")
_HOOKED = ("kernel_metadata", "launch_metadata", "launch_enter_hook", "launch_exit_hook")

#: Kernels compiled or read from Triton's cache by this process: a new length must not add to it.
compilations = 0


@dataclass(frozen=True)
class Compiled:
    """A kernel on one device: ``launch(programs, stream, arguments)``, what the compiler reported, and the
    code (a cubin)."""

    launch: Callable[[int, int, list[Any]], None]
    measured: Measured
    code: bytes = b""


def build(record: Record, kernel: Launch, kinds: Mapping[str, Kind], gpu: Any = None) -> Any:
    """Compile ``kernel`` for ``gpu``, a Triton ``GPUTarget`` (default: the current device), without loading
    it. Triton's own cache on disk makes later ones quick."""
    global compilations
    cache_for_triton()
    import triton
    from triton.compiler import ASTSource

    function = getattr(load(record.path, record.text), kernel.name)
    types, constants, attributes = specialise(kernel.args, kinds)
    source = ASTSource(fn=function, signature=types, constexprs=constants, attrs=attributes)
    compilations += 1
    options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
    if kernel.max_registers:
        options["maxnreg"] = kernel.max_registers
    try:
        return triton.compile(source, target=gpu, options=options)
    except OSError as error:  # a file that cannot be written or found says nothing about the kernel
        raise CannotRun(f"Triton cannot compile here: {type(error).__name__}: {error}") from error


def current_gpu() -> Any:
    """The Triton target of the current device, which is each thread's own."""
    need_triton("a kernel for a GPU", "calls on CPU tensors work")
    from triton.runtime import driver

    return driver.active.get_current_target()


def loaded(compiled: Any) -> Compiled:
    """``compiled`` loaded onto the current device. Raises Triton's ``OutOfResources`` if it cannot run."""
    run = compiled.run
    measured = Measured(
        smem_bytes=int(compiled.metadata.shared),
        registers=int(compiled.n_regs),
        spill_bytes=4 * int(compiled.n_spills),  # Triton counts 32-bit words
    )
    launch = _short(compiled, run) if _known(run) else _ordinary(compiled)
    return Compiled(launch, measured, compiled.asm["cubin"])


def _short(compiled: Any, run: Any) -> Callable[[int, int, list[Any]], None]:
    from triton import knobs

    function, metadata, runtime = compiled.function, compiled.packed_metadata, knobs.runtime
    ordinary = _ordinary(compiled)

    def launch(programs: int, stream: int, arguments: list[Any]) -> None:
        if runtime.launch_enter_hook.calls or runtime.launch_exit_hook.calls:  # a profiler is listening
            ordinary(programs, stream, arguments)
        else:
            run(programs, 1, 1, stream, function, metadata, None, None, None, *arguments)

    return launch


def _ordinary(compiled: Any) -> Callable[[int, int, list[Any]], None]:
    def launch(programs: int, stream: int, arguments: list[Any]) -> None:
        compiled[(programs, 1, 1)](*arguments, stream=stream)

    return launch


def _known(run: Any) -> bool:
    """Whether this Triton's launcher takes what ``_short`` gives it (3.6 and 3.7 do)."""
    try:
        from triton import knobs

        names = tuple(inspect.signature(type(run).__call__).parameters)
        hooks = (knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook)
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    tail = names[len(_LAUNCHER) :]
    listening = all(hasattr(hook, "calls") for hook in hooks)
    return names[: len(_LAUNCHER)] == _LAUNCHER and tail in (("args",), (*_HOOKED, "args")) and listening
