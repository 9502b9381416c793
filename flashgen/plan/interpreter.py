"""Plans for the ``TileProgram`` interpreter on the CPU: tiles large enough that torch's call overhead
is small, small enough that a tile of scores stays in a core's cache."""

from __future__ import annotations

from flashgen.ir.dtypes import ACC_BYTES
from flashgen.ir.program import Program
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import facts
from flashgen.targets.target import Target

from .order import order_of
from .plan import KernelPlan, Plan


def interpreter_plan(program: Program, target: Target, dtype: str, workload: Workload | None) -> Plan:
    """The rule of ``cpu.yaml``: square tiles, the largest whose scores fit the working set."""
    cap, low, high = (target.integer(n) for n in ("working_set", "side_min", "side_max"))
    side = low
    while side * 2 <= high and (side * 2) ** 2 * ACC_BYTES[dtype] <= cap:
        side *= 2
    kernels = tuple(KernelPlan(tuple((s, side) for s in f.sides), 1, 1, order_of(f)) for f in facts(program))
    return Plan(program.schedule, target.name, dtype, kernels, 0, 0, 0.0, workload)
