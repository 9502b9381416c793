"""The suites of whole models: training steps of an example with our attention, with SDPA and with standard
attention. A model's suite and its file in ``examples`` are called as in ``cases.yaml``.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch

from flashgen.resources import folder

from .cases import table
from .clock import Run, peak_bytes, rounds
from .contenders import OURS, STANDARD
from .report import Figure, Timing
from .suites import Session, empty_cache

#: Largest relative difference of losses, and of a gradient's norm, between two attentions in bf16.
LOSS_CLOSE, GRADIENT_CLOSE = 0.01, 0.1


def names() -> tuple[str, ...]:
    """The models of the table."""
    return tuple(table()["models"])


def example(model: str) -> ModuleType:
    """``examples/<model>.py`` of the checkout; raises FileNotFoundError where there is none."""
    path = folder("examples") / f"{model}.py"
    name = f"flashgen_example_{model}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]


def run(model: str, session: Session) -> None:
    """Each attention trains a model of its own, all on the same batch; a failing one is a remark."""
    try:
        _run(model, table()["models"][model], session)
    except Exception as e:  # the other suites still count
        session.report.problems.append(f"{model}: {type(e).__name__}: {e}")
    session.save()
    empty_cache(session)


def _run(model: str, t: dict[str, Any], session: Session) -> None:
    module, report, device = example(model), session.report, session.device
    tiny = device == "cpu"
    config, size, steps = (module.TINY, 2, 1) if tiny else (module.SMALL, t["batch"], t["steps"])
    batch = module.random_batch(config, size, device)
    case = f"{config.layers} layers of {config.width}, B={size} N={config.seqlen}"
    runs: dict[str, Run] = {}
    firsts: dict[str, tuple[float, torch.Tensor]] = {}
    for name in (OURS, *t["goals"]):
        session.say(f"{model} {name}")
        before = 0 if tiny else torch.cuda.memory_allocated()
        try:
            trainer = module.Trainer(config, name, device)
            firsts[name] = _first(trainer, batch)
            for _ in range(2):  # the optimizer's state is there from the second on
                trainer.step(batch)
            runs[name] = _steps(trainer, batch, steps)
            gib = None if tiny else peak_bytes(runs[name], before) / 2**30
        except Exception as e:
            report.problems.append(f"{model} {case}: {name}: {type(e).__name__}: {e}"[:300])
            runs.pop(name, None)
            continue
        if gib is not None:
            report.figures.append(Figure(model, case, f"peak memory with {name}", gib, "GiB"))
    if session.check:
        report.problems.extend(f"WRONG: {model} {case}: {p}" for p in _differences(firsts))
    ms = {name: x / steps for name, x in rounds(runs, session.rounds, device).items()}
    speeds = {name: 1e3 * batch[0].numel() / x for name, x in ms.items()}
    for name, x in ms.items():
        report.timings.append(Timing(model, case, name, x))
        report.figures.append(Figure(model, case, f"speed with {name}", speeds[name] / 1e3, "ktokens/s"))
    for name, goal in t["goals"].items():
        if name in speeds and OURS in speeds:
            ratio = speeds[OURS] / speeds[name]
            what = f"tokens per second / those with {name}"
            report.figures.append(Figure(model, case, what, ratio, "x", goal, at_least=True))
    session.say("    " + ", ".join(f"{n} {x:,.0f} tokens/s" for n, x in speeds.items()))


def _first(trainer: Any, batch: Any) -> tuple[float, torch.Tensor]:
    """Loss and the first block's gradient of qkv's weight before any step, nothing dropped."""
    trainer.model.eval()
    loss = trainer.loss(batch)
    weight = trainer.model.blocks[0].qkv.weight
    (gradient,) = torch.autograd.grad(loss, weight)
    trainer.model.train()
    return loss.item(), gradient


def _differences(firsts: dict[str, tuple[float, torch.Tensor]]) -> list[str]:
    if STANDARD not in firsts:
        return []
    loss, gradient = firsts[STANDARD]
    found = []
    for name, (x, dx) in firsts.items():
        if not abs(x - loss) <= LOSS_CLOSE * abs(loss):
            found.append(f"the loss is {x:.5g} with {name}, {loss:.5g} with {STANDARD} attention")
        off = ((dx - gradient).norm() / gradient.norm()).item()
        if not off <= GRADIENT_CLOSE:
            found.append(f"the gradient of qkv with {name} is {off:.2g} off that with {STANDARD} attention")
    return found


def _steps(trainer: Any, batch: Any, count: int) -> Run:
    def run() -> None:
        for _ in range(count):
            trainer.step(batch)

    return run
