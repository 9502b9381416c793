"""Which loads go through tensor descriptors is decided once: sizes, text and launch agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashgen.driver import emit_source, lower_spec, plan_for, schedules_of
from flashgen.plan.model.facts import facts, streamed
from flashgen.plan.model.tiling import tiling
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.targets.target import load_target, target_names

TARGETS = [t for name in target_names() if (t := load_target(name)).descriptors]


@pytest.mark.parametrize("name", gallery())
def test_sizes_text_and_launch_speak_of_the_same_loads(name: str) -> None:
    spec = load_spec(gallery()[name])
    for schedule in schedules_of(spec):
        known = lower_spec(spec, schedule)
        plan = plan_for(known, load_target("h100"), "bf16")
        forced = tuple(replace(k, loads="descriptor", num_stages=2) for k in plan.kernels)
        for target in TARGETS:
            source = emit_source(known, replace(plan, target=target.name, kernels=forced))
            tensors = set()
            for f, k, printed in zip(facts(known.program), forced, source.kernels, strict=True):
                t = tiling(f, k, "bf16", target)
                sized = {x.name for loop in f.loops for x in loop.loads if t.by_descriptor(x)}
                arguments = [a for a in printed.args if a.kind == "descriptor"]
                assert sized == {a.name.removesuffix("_desc") for a in arguments}, (schedule, f.kernel.name)
                tensors |= {a.tensor for a in arguments}
            assert tensors == streamed(known.program)
