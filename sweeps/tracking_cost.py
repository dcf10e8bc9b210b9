"""What records and tracking cost of a tiny run: python -m sweeps.tracking_cost  (the second part of `make bench`)

One run of preset tiny is made in a temporary folder and timed. What its records (run.json, lock and lease,
metrics.jsonl) and W&B offline were told is then told again, as many times as a worker of `make sweep` has runs, in a
process of its own: once to the records, once to both. CPU time is that of the process with all its threads, and of
W&B's service process beside it. Importing wandb and starting its service happen once a worker, spread over its runs.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from ablations import command_line, records
from ablations.metrics_log import MetricsLog
from ablations.provenance import provenance
from core.errors import command
from core.run_folder import METRICS, PROBES, RUN, SAMPLES, SCORES, TOKENIZER, WEIGHTS, path_of, read
from sweeps.running.options import positive

NULL = "nothing"
KINDS = (NULL, "records", "records and W&B")
COPIED = (SCORES, PROBES, SAMPLES, WEIGHTS, TOKENIZER)


@dataclass(frozen=True)
class Options:
    """Measure what records and tracking cost of a tiny run."""

    runs: int = 12
    """Runs of one worker: 24 runs of the 2x2x2 with three seeds, on two cores."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of the table."""
    folder: Path | None = None
    """A run folder to take instead of making one (its run.json says how long the run took)."""


class Cost(NamedTuple):
    """Seconds: CPU of the process, CPU of W&B's service, wall clock."""

    cpu: float
    service: float
    wall: float


@command
def main() -> int:
    """Print the table, or one JSON object."""
    options = command_line.read(Options, prog="python -m sweeps.tracking_cost", description=__doc__)
    runs = positive("runs", options.runs)
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or tiny_run(Path(place))
        run = records.read(folder)["cost"]
        costs = {kind: measured(folder, kind, runs) for kind in KINDS}
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


def tiny_run(place: Path) -> Path:
    """Make a run of preset tiny; its folder."""
    line = [sys.executable, "-m", "ablations.run", "--preset", "tiny", "--runs", str(place)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return next(place.glob(f"*/*/{RUN}")).parent


def measured(folder: Path, kind: str, runs: int) -> Cost:
    """What so many replays cost in a process of their own, offline and without a key."""
    program = "import sys; from sweeps.tracking_cost import replayed; print(list(replayed(*sys.argv[1:])))"
    line = [sys.executable, "-c", program, str(folder), kind, str(runs)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(line, env=clean | {"WANDB_MODE": "offline"}, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def replayed(place: str, kind: str, runs: str) -> Cost:
    """Tell records, or records and W&B, what a run told them; several times over."""
    import torch  # takes seconds: not for --help; and before the clock starts, since a run has it anyway

    folder, device = Path(place), torch.device("cpu")
    record, rows = records.read(folder), read(folder / METRICS)
    before = _clocks()
    with tempfile.TemporaryDirectory() as study:
        for number in range(int(runs) if kind != NULL else 0):
            again = record | {"hash": f"{number:08x}"}
            replay(folder, Path(study) / "study", again, rows, device, wandb=kind == KINDS[2])
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()
    return Cost(*(after - earlier for after, earlier in zip(_clocks(), before, strict=True)))


def _clocks() -> Cost:
    """CPU of this process, CPU of its children that ended, wall clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.process_time(), children.ru_utime + children.ru_stime, time.monotonic())


def replay(
    source: Path, study: Path, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], device: Any, wandb: bool
) -> None:
    """One run, as ablations.run and sweeps.worker make it, without what it computes."""
    folder = path_of(study.parent, study.name, record["arm"], record["seed"], record["hash"])
    same = ("study", "arm", "label", "seed", "toggles", "config", "tuning")
    records.create(folder, hash8=record["hash"], **{name: record[name] for name in same})
    records.claim(folder)
    tracker: records.Tracker = records.NullTracker()
    if wandb:
        from sweeps.wb import tracking

        tracker = tracking.tracker(folder)
    records.update(folder, **provenance(device), data=record["data"])
    records.update(folder, training_hash=record["training_hash"])
    with MetricsLog(folder / METRICS, None, tracker.log) as log:
        for row in rows:
            log.log(row)
    for name in COPIED if wandb else ():  # links cost nothing; writing them is the run's own work
        os.symlink((source / name).resolve(), folder / name)
    for _ in range(int(record["cost"]["wall_s"] / (records.LEASE_SECONDS / 3))):
        records.update(folder, lease=records.read(folder)["lease"])
    records.update(folder, cost=record["cost"], outcome="ok")
    tracker.results(folder)
    records.finish(folder)
    tracker.finish("finished")
    records.release(folder)


if __name__ == "__main__":
    sys.exit(main())
