"""The measurements on a GPU, one after the other, each printed as it comes: `python -m core.bench --device cuda`."""

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.measuring import gpu_attention, gpu_rates
from core.measuring.gpu_rates import Row
from core.measuring.rates import GPU_SIZES, Size
from core.training.step_modes import Mode

MODES: tuple[Mode, ...] = ("eager", "graph", "compiled")


LONGEST = 450.0
"""Seconds after which nothing more is begun: the whole stays below eight minutes."""


Measure = tuple[str, Callable[[], Row]]
"""A heading, and what is measured under it."""


def plan(device: torch.device, sizes: tuple[Size, ...], quick: bool) -> Iterator[Measure]:
    """What is measured; what matters most comes first: at the end time may be over."""
    usual, *others = (64,) if quick else (8192, 1024, 32768)
    updates = 2 if quick else 40
    modes = MODES[:2] if quick else MODES

    def trained(size: Size, count: int) -> Iterator[Measure]:
        return (("training", partial(gpu_rates.training, size, count, mode, device, updates)) for mode in modes)

    def compared(size: Size) -> Iterator[Measure]:
        yield from (("equal to eager", partial(gpu_rates.equality, size, mode, device)) for mode in modes[1:])
        yield "resumed", partial(gpu_rates.resuming, size, "graph", device)

    first, *rest = sizes
    yield from compared(first)
    yield from trained(first, usual)
    yield from written(first, device, quick)
    for workers in (1, 2) if quick else (1, 4, 8):
        yield "workers", partial(gpu_rates.together, sizes[-1], workers, device, 2 if quick else 10)
    yield "deterministic", partial(gpu_rates.strict, first, usual, device, updates)
    for size in rest:
        yield from compared(size)
        yield from trained(size, usual)
    for count in others:
        for size in sizes:
            yield from trained(size, count)


def written(size: Size, device: torch.device, quick: bool) -> Iterator[Measure]:
    """Decoding, and forms of attention."""
    for count in (64,) if quick else (4096, 32768):
        for precision in ("bfloat16", "float32"):
            yield "decoding", partial(gpu_rates.decoding, size, count, precision, device, 8 if quick else 4096)
    for length in (12,) if quick else (12, 16, 24, 48):
        for form in ("sdpa", "products") if quick else gpu_attention.FORMS:
            yield "attention", partial(gpu_attention.attention, form, length, device, 96 if quick else 8192)


def run(device: torch.device, path: Path | None, sizes: tuple[Size, ...] = GPU_SIZES, quick: bool = False) -> None:
    """Measure everything and print it; path: a JSON file, written again after each measurement."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "rows": []}
    found["peak_tflops"] = limit = gpu_rates.peak(device, 256 if quick else 8192)
    print(f"{name}, torch {torch.__version__}: bfloat16 product {limit:.1f} TFLOP/s", flush=True)
    per_token: dict[str, float] = {}
    begun, longest = time.monotonic(), math.inf if quick else LONGEST
    for what, measure in plan(device, sizes, quick):
        started = time.monotonic()
        try:
            over: Row = {"left out": f"after {longest:.0f} s nothing is begun"}
            row = measure() if started - begun < longest else over
        except (RuntimeError, OSError) as error:  # the others are still worth having
            row = {"failed": str(error).strip().partition("\n")[0]}
        if "mflop_per_token" in row:
            per_token[row["size"]] = row["mflop_per_token"]
        if "tokens_per_s" in row and row["size"] in per_token:
            row["tflops"] = row["tokens_per_s"] * per_token[row["size"]] / 1e6
            row["share_of_peak"] = row["tflops"] / limit
        found["rows"].append({"what": what, **row, "measured_in_s": time.monotonic() - started})
        print(f"{what:15} " + "  ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)
        if path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def shown(value: Any) -> str:
    """A number with four digits, or what it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
