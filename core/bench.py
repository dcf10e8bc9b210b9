"""Training tokens and decoding sentences per CPU-second, one thread, at the sizes that the project holds itself to.

    python -m core.bench [--repeats 5] [--json]

Text is random token ids with the lengths of captions (Poisson, mean 14 target tokens), so nothing is read from disk.
The released implementation's figures were measured on one core of an AVX2 machine that multiplies matrices at
75 GFLOP/s; the speed of this machine's core is printed beside ours, since only comparable hardware compares.
"""

import argparse
import json
import sys
from functools import partial

from core.errors import command


@command
def main() -> int:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m core.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each measurement; the median is printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    import torch  # takes seconds: not for --help

    from core.machine import configure
    from core.rates import SIZES, decoding_rate, matrix_speed, median_of, training_rate

    configure(1)
    speed = matrix_speed()
    rows = []
    for size in SIZES:
        measures = {
            "training, tokens": (partial(training_rate, size), size.released[0]),
            "decoding, sentences (20 calls)": (partial(decoding_rate, size, 0), size.released[1]),
            "decoding, sentences (15 calls)": (partial(decoding_rate, size, 5), None),
        }
        for what, (measure, released) in measures.items():
            median, low, high = median_of(options.repeats, measure)
            rows.append(
                {"size": size.name, "what": what, "median": median, "low": low, "high": high, "released": released}
            )
            if not options.json:
                note = f"released {released:g}: {median / released:.1f} times" if released else ""
                print(
                    f"{size.name:24} {what:31} {median:9.1f} per CPU-second  ({low:.1f} to {high:.1f})  {note}",
                    flush=True,
                )
    if options.json:
        print(json.dumps({"gflops": speed, "rows": rows}, indent=1))
    else:
        print(
            f"matrix product on one thread: {speed:.0f} GFLOP/s (the released figures: 75); torch {torch.__version__}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
