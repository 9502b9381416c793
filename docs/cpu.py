"""Times the CPU backend beside SDPA's math backend: the table in benchmarks.md."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

import flashgen


def seconds(run: Callable[[], object]) -> float:
    """The fastest of three calls after a first one."""
    run()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print one row for each dtype and mask."""
    torch.set_num_threads(2)
    print("| dtype | mask | flashgen, s | SDPA math, s | ratio |\n| --- | --- | --- | --- | --- |")
    for dtype in (torch.float32, torch.bfloat16):
        for mask in (None, "causal"):
            spec = flashgen.AttentionSpec(name="timed", head_dim=64, mask=mask)
            q, k, v = (torch.randn(1, 8, 2048, 64, dtype=dtype) for _ in range(3))
            attention = flashgen.compile(spec)
            ours = seconds(partial(attention, q, k, v))
            with sdpa_kernel(SDPBackend.MATH):
                theirs = seconds(partial(sdpa, q, k, v, is_causal=mask is not None))
            name = str(dtype).removeprefix("torch.")
            print(f"| {name} | {mask or 'none'} | {ours:.3f} | {theirs:.3f} | {ours / theirs:.2f} |")


main()
