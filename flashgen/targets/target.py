"""Targets: what the planner must know of a GPU, read from ``specs/targets/*.yaml``.

Every number there has a unit and a source. A new GPU is one such file.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flashgen import languages
from flashgen.errors import PlanError
from flashgen.resources import folder
from flashgen.size import show_size

from .plausible import OLDER, check_values, in_words, too_old

#: What a missing number would leave unknown: its unit and the prediction that needs it.
GPU_NUMBERS: dict[str, tuple[str, str]] = {
    "sms": ("SM", "waves"),
    "clock": ("GHz", "time"),
    "smem_per_block": ("bytes", "which tiles fit"),
    "smem_per_sm": ("bytes", "occupancy"),
    "smem_reserved_per_block": ("bytes", "occupancy"),
    "registers_per_sm": ("32-bit registers", "occupancy"),
    "registers_per_thread": ("32-bit registers", "spills"),
    "threads_per_sm": ("threads", "occupancy"),
    "blocks_per_sm": ("blocks", "occupancy"),
    "exp_per_clock": ("results/clock/SM", "time of the exponentials"),
    "vector_per_clock": ("operations/clock/SM", "time of scores and weights"),
    "smem_bytes_per_clock": ("bytes/clock/SM", "time of the dots' operands"),
    "l2": ("bytes", "DRAM traffic"),
    "l2_rate": ("GB/s", "time of the loads"),
    "latency": ("us", "time of loads that nothing hides"),
    "hbm_rate": ("GB/s", "time of the DRAM traffic"),
    "hbm_capacity": ("bytes", "check that tensors fit"),
    "fp16_rate": ("TFLOP/s", "time of the dots"),
    "fp32_rate": ("TFLOP/s", "time of fp32 dots"),
    "sustained": ("share of the peak rates", "time of the dots"),
    "hbm_sustained": ("share of hbm_rate", "time of the DRAM traffic"),
    "launch": ("us", "time of a short call"),
}
#: What a GPU may be without, and what it then cannot do.
OPTIONAL_NUMBERS: dict[str, tuple[str, str]] = {
    "bf16_rate": ("TFLOP/s", "bf16 kernels"),
    "tf32_rate": ("TFLOP/s", "time of dots of fp32 tensors on matrix units"),
}
CPU_NUMBERS: dict[str, tuple[str, str]] = {
    "working_set": ("bytes", "tile sides"),
    "side_min": ("rows", "tile sides"),
    "side_max": ("rows", "tile sides"),
    "call": ("us", "time"),
}


class Number(BaseModel):
    """One number of a target. ``source`` is a key of the target's ``sources``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: float = Field(strict=True)  # true is no number
    unit: str
    source: str


class Target(BaseModel):
    """One GPU (or the CPU).

    ``backend``: the GPU language that serves it, a room of ``flashgen/backends``. ``matrix``: the kind of
    matrix unit that is used there, which decides what is kept where; with ``none`` dots run on the fp32
    lanes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    description: str
    backend: str
    arch: str
    matrix: Literal["wgmma", "tcgen05", "mma", "mfma", "none"]
    warp_size: int
    sources: dict[str, str]
    numbers: dict[str, Number]
    async_copies: bool = True  # from global to shared memory, past the registers
    descriptors: bool = False  # tensor descriptors made on the host (TMA)
    register_caps: bool = False  # the compiler takes a limit of registers a thread
    note: str = ""  # what a user of this GPU should know
    smem_real: int = 0  # bytes a block may really use, where the user stated others

    @property
    def gpu(self) -> bool:
        """Whether kernels are generated for it; the interpreter runs programs on the CPU."""
        return self.backend != "interpreter"

    def number(self, name: str) -> float:
        """The value of ``name``; raises ``PlanError`` naming the prediction it is needed for."""
        found = self.numbers.get(name)
        if found is None:
            _, what = {**GPU_NUMBERS, **OPTIONAL_NUMBERS, **CPU_NUMBERS}.get(name, ("", "the plan"))
            raise PlanError(f"target {self.name}: number {name!r} is missing, so there is no {what}")
        return found.value

    def integer(self, name: str) -> int:
        """``number`` as an int."""
        return int(self.number(name))

    @property
    def smem_bytes(self) -> int:
        """Shared memory one block may use."""
        return self.integer("smem_per_block")

    def flops_per_clock(self, dtype: str, tf32: bool = False) -> float:
        """FLOPs of one SM's matrix unit (or of its fp32 lanes, for IEEE fp32) a clock."""
        name = "tf32_rate" if dtype == "fp32" and tf32 else f"{dtype}_rate"
        return self.number(name) * 1e3 / (self.number("sms") * self.number("clock"))

    def missing(self) -> dict[str, str]:
        """Numbers that the file lacks, and the prediction (or the kernels) that each would give."""
        wanted = {**GPU_NUMBERS, **OPTIONAL_NUMBERS} if self.gpu else CPU_NUMBERS
        return {name: what for name, (_, what) in wanted.items() if name not in self.numbers}

    def supports(self, dtype: str) -> bool:
        """Whether kernels of ``dtype`` run here."""
        return not self.gpu or f"{dtype}_rate" in self.numbers

    def with_sram(self, sram: int | None) -> Target:
        """The same GPU with ``sram`` bytes of shared memory a block (and as many more an SM).

        Raises ``PlanError`` where there are no thread blocks to have any.
        """
        if sram is None:
            return self
        if not self.gpu:
            raise PlanError(
                f"target {self.name} runs no thread blocks, so there is no shared memory to state: "
                "leave sram out, or name a GPU"
            )
        old = self.smem_bytes
        value = Number(value=sram, unit="bytes", source="stated")
        per_sm = self.integer("smem_per_sm") - old + sram
        numbers = {
            **self.numbers,
            "smem_per_block": value,
            "smem_per_sm": value.model_copy(update={"value": per_sm}),
        }
        real = self.smem_real or old
        sources = {**self.sources, "stated": f"stated by the user; the hardware has {show_size(real)}"}
        return self.model_copy(update={"numbers": numbers, "sources": sources, "smem_real": real})

    @property
    def calibrated(self) -> bool:
        """Whether its clock was fitted to kernels measured on such a GPU, or one of the same SMs."""
        return "clock" in self.numbers and "fitted" in self.sources[self.numbers["clock"].source]

    def notes(self) -> list[str]:
        """What a user of a plan for this target should know."""
        found = [self.note] if self.note else []
        if self.smem_real:
            per_sm = show_size(self.integer("smem_per_sm"))
            found.append(
                f"an SM has {per_sm} of shared memory here: as much more or less than a real {self.name}'s "
                "as a thread block has, so a smaller SRAM costs blocks that share an SM, too"
            )
        if self.gpu and not self.calibrated:
            found.append(
                f"times on {self.name} follow from data sheets alone: no kernel was measured there "
                "(`flashgen calibrate` does, on such a GPU)"
            )
        if 0 < self.smem_real < self.smem_bytes:
            found.append(
                f"{show_size(self.smem_bytes)} of shared memory a thread block is more than the "
                f"{show_size(self.smem_real)} of a real {self.name}: "
                "this is a plan for a GPU that does not exist"
            )
        return found


def target_names() -> list[str]:
    """Names of the targets that have a file."""
    return sorted(p.stem for p in folder("specs").joinpath("targets").glob("*.yaml"))


@lru_cache(maxsize=64)
def load_target(name: str, sram: int | None = None, partial: bool = False) -> Target:
    """The target called ``name``, or of the YAML file of that path; ``sram`` replaces the bytes of shared
    memory a thread block may use, ``partial`` is as for ``read_target``.

    Raises ``PlanError`` with the known names and the nearest one, or naming what a file lacks.
    """
    if name.endswith((".yaml", ".yml")):
        return read_target(Path(name), partial).with_sram(sram)
    known = target_names()
    if name not in known:
        if arch := OLDER.get(name.lower().replace(" ", "")):
            raise PlanError(f"{name.lower()} is {arch}, {too_old()}")
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "."
        listed = ", ".join(known)
        raise PlanError(
            f"unknown target {name!r}{hint} Known targets: {listed}; or the path of a target's YAML file"
        )
    return read_target(folder("specs") / "targets" / f"{name}.yaml", partial).with_sram(sram)


def read_target(path: Path, partial: bool = False) -> Target:
    """The target in the YAML file ``path``, checked: every number present, with its unit and source,
    and a value that a GPU can have.

    ``partial``: numbers may be missing (``Target.missing`` says which). Raises ``PlanError``.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        target = Target.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise PlanError(f"{path} cannot be read: {e.strerror}") from e
    except (YAMLError, UnicodeDecodeError) as e:
        raise PlanError(f"{path}: {e}") from e
    except ValidationError as e:
        raise PlanError(f"{path}: {in_words(e.errors()[0])}") from e
    needed = GPU_NUMBERS if target.gpu else CPU_NUMBERS
    known = {**needed, **OPTIONAL_NUMBERS}
    if unknown := [n for n in target.numbers if n not in known]:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"Known are: {', '.join(known)}"
        raise PlanError(f"{path}: no number is called {', '.join(map(repr, unknown))}; {hint}")
    missing = [f"{n} ({unit}): no {what}" for n, (unit, what) in needed.items() if n not in target.numbers]
    if missing and not partial:
        raise PlanError(f"{path} cannot be planned for, numbers are missing: {'; '.join(missing)}")
    for n, number in target.numbers.items():
        unit = known[n][0]
        if number.unit != unit:
            raise PlanError(f"{path}: {n} is in {number.unit!r}, expected {unit!r}")
        if number.source not in target.sources:
            raise PlanError(f"{path}: {n}: source {number.source!r} is not among the file's sources")
    try:
        if target.gpu:
            languages.check(target.backend)
        check_values(target)
    except PlanError as e:
        raise PlanError(f"{path}: {e}") from None
    return target
