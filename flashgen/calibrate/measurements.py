"""What was measured on one GPU, and the CSV file that keeps it: a line of JSON about the device behind a
``#``, then a row for each kernel."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from flashgen.driver import lower_spec
from flashgen.errors import PlanError
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.order import order_of
from flashgen.plan.plan import KernelPlan, Measured
from flashgen.spec.model import AttentionSpec

#: The schedule whose one kernel is measured.
SCHEDULE = "flash2"
_SIZES = ("B", "Hq", "Hkv", "Nq", "Nk")
_COMPILED = ("smem_bytes", "registers", "spill_bytes")
_PLAN = ("sides", "warps", "stages", "loads", "max_registers")
COLUMNS = ("mask", "head_dim", "dtype", *_SIZES, *_PLAN, *_COMPILED, "us")


@dataclass(frozen=True)
class Device:
    """A GPU: its name and architecture (``sm_90``), the versions measured with, the numbers that it reports
    of itself by their names in a target, and what it sustains: bytes of a copy, read and written, and FLOPs
    of a matrix product of the kernels' dtype."""

    name: str
    arch: str
    versions: str
    reported: Mapping[str, float] = field(default_factory=dict)
    copy_gb_per_s: float = 0.0
    matmul_tflop_per_s: float = 0.0


@dataclass(frozen=True)
class Row:
    """One forward kernel at one workload: what was compiled, and its microseconds."""

    mask: str
    head_dim: int
    dtype: str
    work: Workload
    plan: KernelPlan
    compiled: Measured
    us: float

    @property
    def spec(self) -> AttentionSpec:
        """The attention measured."""
        return spec_of(self.mask, self.head_dim)

    @property
    def label(self) -> str:
        """How it is called in tables."""
        return f"{self.mask or 'no mask'}, D={self.head_dim}, N={self.work.Nq}: {self.plan}"


@dataclass(frozen=True)
class Measurements:
    """All that was measured on one GPU."""

    device: Device
    rows: tuple[Row, ...]

    def write(self, path: Path) -> None:
        """Keep it in a CSV file."""
        with path.open("w", newline="", encoding="utf-8") as f:
            f.write(f"# {json.dumps(asdict(self.device))}\n")
            writer = csv.writer(f)
            writer.writerow(COLUMNS)
            writer.writerows(_cells(r) for r in self.rows)

    @classmethod
    def read(cls, path: Path) -> Measurements:
        """What ``write`` wrote. Raises ``PlanError`` for anything else."""
        try:
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            device = Device(**json.loads(first.removeprefix("#")))
            rows = tuple(_row(cells) for cells in csv.DictReader(lines))
        except OSError as e:
            raise PlanError(f"{path} cannot be read: {e.strerror}") from e
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise PlanError(f"{path} is no file of measurements that flashgen calibrate wrote: {e}") from e
        return cls(device, rows)


@lru_cache(maxsize=64)
def spec_of(mask: str, head_dim: int) -> AttentionSpec:
    """Attention under ``mask`` (none where empty), nothing else."""
    return AttentionSpec.model_validate({"name": "measured", "head_dim": head_dim, "mask": mask or None})


@lru_cache(maxsize=64)
def program_of(mask: str, head_dim: int) -> Program:
    """Its program."""
    return lower_spec(spec_of(mask, head_dim), SCHEDULE).program


@lru_cache(maxsize=64)
def facts_of(mask: str, head_dim: int) -> KernelFacts:
    """What the planner knows of its kernel."""
    return facts(program_of(mask, head_dim))[0]


def _cells(r: Row) -> list[object]:
    p = r.plan
    sides = " ".join(f"{name}={n}" for name, n in p.sides)
    plan = (sides, p.num_warps, p.num_stages, p.loads, p.max_registers)
    sizes, compiled = asdict(r.work), asdict(r.compiled)
    return [
        r.mask, r.head_dim, r.dtype, *(sizes[n] for n in _SIZES), *plan,
        *(compiled[n] for n in _COMPILED), round(r.us, 3),
    ]  # fmt: skip


def _row(cells: Mapping[str, str]) -> Row:
    mask, head_dim = cells["mask"], int(cells["head_dim"])
    pairs = (side.split("=") for side in cells["sides"].split())
    loads = cells["loads"]
    if loads not in ("pointer", "descriptor"):
        raise ValueError(f"unknown kind of loads {loads!r}")
    plan = KernelPlan(
        tuple((name, int(n)) for name, n in pairs),
        int(cells["warps"]),
        int(cells["stages"]),
        order_of(facts_of(mask, head_dim)),
        "descriptor" if loads == "descriptor" else "pointer",
        int(cells["max_registers"]),
    )
    return Row(
        mask,
        head_dim,
        cells["dtype"],
        Workload(**{n: int(cells[n]) for n in _SIZES}),
        plan,
        Measured(int(cells["smem_bytes"]), int(cells["registers"]), int(cells["spill_bytes"])),
        float(cells["us"]),
    )
