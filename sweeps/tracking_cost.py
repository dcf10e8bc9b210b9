"""What records and tracking cost of a tiny run: python -m sweeps.tracking_cost  (the second part of `make bench`)

One run of preset tiny is made in a temporary folder and timed. What its records (run.json, lock and lease,
metrics.jsonl) and W&B offline were told is then told again, as many times as a worker of `make sweep` has runs, in a
process of its own: once to the records, once to both. CPU time is that of the process with all its threads, and of
W&B's service process beside it. Importing wandb and starting its service happen once a worker, spread over its runs.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line, records
from core.errors import command
from sweeps.running.options import positive
from sweeps.wb.cost import KINDS, NULL, Cost, make_tiny_run, measure


@dataclass(frozen=True)
class Options:
    """Measure what records and tracking cost of a tiny run."""

    runs: int = 12
    """Runs of one worker: 24 runs of the 2x2x2 with three seeds, on two cores."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of the table."""
    folder: Path | None = None
    """A run folder to take instead of making one (its run.json says how long the run took)."""


@command
def main() -> int:
    """Print the table, or one JSON object."""
    options = command_line.read(Options, prog="python -m sweeps.tracking_cost", description=__doc__)
    runs = positive("runs", options.runs)
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or make_tiny_run(Path(place))
        run = records.read(folder)["cost"]
        costs = {kind: measure(folder, kind, runs) for kind in KINDS}
    nothing = costs.pop(NULL)
    found = {kind: Cost(*((a - b) / runs for a, b in zip(all_, nothing, strict=True))) for kind, all_ in costs.items()}
    shares = {
        kind: {"cpu": 100 * (cost.cpu + cost.service) / run["cpu_s"], "wall": 100 * cost.wall / run["wall_s"]}
        for kind, cost in found.items()
    }
    if options.json:
        print(json.dumps({"run": run, "costs": {k: c._asdict() for k, c in found.items()}, "shares": shares}, indent=1))
        return 0
    print(f"a run of preset tiny: {run['cpu_s']:.1f} s CPU, {run['wall_s']:.1f} s wall. With {runs} runs a worker:")
    for kind, cost in found.items():
        part, cpu = shares[kind], f"{1000 * cost.cpu:.0f} ms CPU + {1000 * cost.service:.0f} ms in W&B's service"
        print(f"{kind:16} {cpu}: {part['cpu']:.2f} %; {1000 * cost.wall:.0f} ms wall: {part['wall']:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
