"""What a run's records and W&B cost: what they were told is told again, in a process of its own, and timed."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ablations import records
from ablations.metrics_log import MetricsLog
from ablations.provenance import provenance
from core.run_folder import METRICS, PROBES, RUN, SAMPLES, SCORES, TOKENIZER, WEIGHTS, path_of, read

NULL = "nothing"
KINDS = (NULL, "records", "records and W&B")
COPIED = (SCORES, PROBES, SAMPLES, WEIGHTS, TOKENIZER)


class Cost(NamedTuple):
    """Seconds: CPU of the process, CPU of W&B's service, wall clock."""

    cpu: float
    service: float
    wall: float


def make_tiny_run(place: Path) -> Path:
    """Make a run of preset tiny; its folder."""
    line = [sys.executable, "-m", "ablations.run", "--preset", "tiny", "--runs", str(place)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return next(place.glob(f"*/*/{RUN}")).parent


def measure(folder: Path, kind: str, runs: int) -> Cost:
    """What so many replays cost in a process of their own, offline and without a key."""
    program = "import sys; from sweeps.wb.cost import measure_here; print(list(measure_here(*sys.argv[1:])))"
    line = [sys.executable, "-c", program, str(folder), kind, str(runs)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(line, env=clean | {"WANDB_MODE": "offline"}, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*json.loads(done.stdout.strip().split("\n")[-1]))


def measure_here(place: str, kind: str, runs: str) -> Cost:
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
