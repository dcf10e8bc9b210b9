"""Training tokens and decoding sentences per CPU-second, one thread, at the sizes that the project holds itself to, in
float32 and in bfloat16; or what a GPU makes of them.

    python -m core.bench [--repeats 5] [--out FILE.json]
    python -m core.bench --device cuda [--out FILE.json]        # under eight minutes on an H100

Text is random token ids with the lengths of captions (Poisson, mean 14 target tokens), so nothing is read from disk.
The speed of this machine's core is printed beside the rates: only what was run side by side compares.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UserError, command


@command
def main() -> int:
    """Print the table, and write the JSON file that was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m core.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what is measured")
    parser.add_argument("--repeats", type=int, default=5, help="CPU: runs of each measurement; the median is printed")
    parser.add_argument("--out", type=Path, help="write what was measured to this JSON file, too")
    options = parser.parse_args()
    if options.repeats < 1:
        raise UserError(f"option --repeats: {options.repeats} is not a number of runs; at least 1")
    if options.device == "cuda":
        measure_gpu(options.out)
    else:
        measure_core(options.repeats, options.out)
    return 0


def measure_gpu(path: Path | None) -> None:
    """The GPU's table."""
    import torch  # takes seconds: not for --help

    from core.machine import configure
    from core.measuring import gpu_bench
    from core.text.materials import device_for

    configure(1)
    device = device_for("cuda")
    gpu_bench.run(torch.device(device), path)


def measure_core(repeats: int, path: Path | None) -> None:
    """The table of one core."""
    import torch

    from core.machine import configure
    from core.measuring.rates import PRECISIONS, SIZES, decoding_rate, matrix_speed, median_of, training_rate
    from core.processor import processor

    configure(1)
    speeds = {precision: matrix_speed(precision) for precision in PRECISIONS}
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        for precision in PRECISIONS:
            measures = {
                "training, tokens": partial(training_rate, size, precision),
                "decoding, sentences (20 calls)": partial(decoding_rate, size, precision, 0),
                "decoding, sentences (15 calls)": partial(decoding_rate, size, precision, 5),
            }
            for what, measure in measures.items():
                median, low, high = median_of(repeats, measure)
                rows.append({"size": size.name, "precision": precision, "what": what})
                rows[-1] |= {"median": median, "low": low, "high": high}
                rate = f"{median:9.1f} per CPU-second  ({low:.1f} to {high:.1f})"
                print(f"{size.name:24} {precision:9} {what:31} {rate}", flush=True)
    products = ", ".join(f"{speed:.0f} GFLOP/s in {precision}" for precision, speed in speeds.items())
    print(f"{processor()}: matrix product on one thread: {products}; torch {torch.__version__}")
    if path:
        found = {"processor": processor(), "torch": torch.__version__, "gflops": speeds, "rows": rows}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
