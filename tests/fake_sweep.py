"""Sweeps of a stand-in for the arm, which logs some rows, or fails, dies, waits as behaviour.json says.

Run as a script this file is a worker (`work`) or a whole sweep (`conduct`), so that tests can kill either.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from ablations import records
from ablations.metrics_log import MetricsLog, latest
from ablations.provenance import commit
from core.config import RunConfig, flat, with_values
from core.errors import UserError, command
from core.run_folder import full_disk, write_json
from core.signals import end_on_sigterm
from core.text import corpus
from sweeps import worker
from sweeps.running import conduct, display, leases, plan, progress, storage, trials

ROOT = Path(__file__).parents[1]
ME = (sys.executable, str(Path(__file__)))
UPDATES = 8
STARTED: "list[subprocess.Popen[str]]" = []
DIGEST = corpus.digest(RunConfig().data)


# The stand-in for an arm


def fake(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Log UPDATES rows and finish, or do what behaviour.json says of the arm."""
    behaviour = json.loads((folder.parents[1] / "behaviour.json").read_text())
    record = records.read(folder)
    what = behaviour.get(record["arm"], behaviour.get("*", "quick"))
    with open(folder / "executions", "a") as file:
        file.write("x")
    print("about to", what, flush=True)
    if what == "fail" or (what == "fail once" and record["attempts"] == 1):
        raise RuntimeError("no luck\nat all")
    if what == "refuse":
        raise UserError("your text is unusable")
    if what == "die" or (what == "die once" and record["attempts"] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    while what == "gate" and not (folder.parents[1] / "go").exists():
        time.sleep(0.05)
    done = latest(folder / "metrics.jsonl").get("train/step")
    with MetricsLog(folder / "metrics.jsonl", done, tracker.log) as log:
        for step in range((done or 0) + 1, UPDATES + 1):
            time.sleep({"slow": 0.4, "brisk": 0.1}.get(what, 0.0))
            log.log({"train/step": step, "train/loss": 1 / step})
    write_json(folder / "scores.json", {"bleu": 10.0 * config.seed + len(record["arm"])})
    records.finish(folder)


# A sweep of stand-ins


def jobs_for(arms: Sequence[str], seeds: int) -> tuple[plan.Job, ...]:
    """Jobs of a made-up study."""
    made = []
    for seed in range(1, seeds + 1):
        for arm in arms:
            config = flat(with_values(RunConfig(), {"seed": seed, "updates": UPDATES}))
            hash8 = records.identity(config, DIGEST)
            made.append(plan.Job("s", arm, arm.upper(), seed, hash8, config, {"arm": arm}, {}))
    return tuple(made)


def sweep_of(
    runs: Path,
    arms: Sequence[str] = ("a", "b"),
    seeds: int = 2,
    workers: int = 2,
    where: str = "",
    lease: float = leases.LEASE_SECONDS,
    **behaviour: str,
) -> conduct.Sweep:
    """A sweep whose workers run `fake`; behaviour: arm (or all) -> what it does."""
    runs.mkdir(parents=True, exist_ok=True)
    said = {"*" if arm == "all" else arm: what for arm, what in behaviour.items()}
    (runs / "behaviour.json").write_text(json.dumps(said))
    jobs = jobs_for(arms, seeds)
    facts = {"study": "s", "runs": [job.key for job in jobs], "corpus_digest": DIGEST, "commit": commit()}
    where = where or str(runs / "s" / "optuna.journal")
    me = (*ME, "work")
    times = {"poll_seconds": 0.1, "lease_seconds": lease}
    return conduct.Sweep(jobs, tuple(arms), runs, where, "s-1", "bleu", workers, (), facts, me, **times)


def run(sweep: conduct.Sweep) -> tuple[list[progress.View], str]:
    """Conduct a sweep here, with plain lines."""
    out = io.StringIO()
    return conduct.conduct(sweep, display.Lines(sweep.workers, sweep.metric, out)), out.getvalue()


def start(sweep: conduct.Sweep, **options: Any) -> subprocess.Popen[str]:
    """Conduct a sweep in a process of its own, one that can be killed."""
    arms = ",".join(sweep.arms)
    seeds = str(max(job.seed for job in sweep.jobs))
    line = [*ME, "conduct", str(sweep.runs), arms, seeds, str(sweep.workers), str(sweep.lease_seconds)]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    pipe = subprocess.PIPE
    env = os.environ | {storage.ENVIRONMENT: sweep.storage}
    STARTED.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed, env=env, **options))
    return STARTED[-1]


@contextlib.contextmanager
def tidy() -> Iterator[None]:
    """Leave no process behind, also where a test fails."""
    try:
        yield
    finally:
        while STARTED:
            process = STARTED.pop()
            if process.poll() is None:
                process.kill()
                process.communicate()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def states(sweep: conduct.Sweep) -> list[str]:
    """The states of all runs on disk."""
    return [progress.view(job, job.folder(sweep.runs), "bleu").state for job in sweep.jobs]


def executions(sweep: conduct.Sweep) -> list[int]:
    """How many times each run was begun."""
    counts = [job.folder(sweep.runs) / "executions" for job in sweep.jobs]
    return [path.stat().st_size if path.exists() else 0 for path in counts]


def completed(sweep: conduct.Sweep) -> list[tuple[str, int]]:
    """(arm, seed) of Optuna's completed trials; none may be left open."""
    queue = trials.Queue.load(storage.open_storage(sweep.storage), sweep.queue)
    assert not queue.trials(TrialState.WAITING, TrialState.RUNNING)
    return sorted((t.params["arm"], t.params["seed"]) for t in queue.trials(TrialState.COMPLETE))


def everything(sweep: conduct.Sweep) -> list[tuple[str, int]]:
    """(arm, seed) of all jobs."""
    return sorted((job.arm, job.seed) for job in sweep.jobs)


def living(pids: Sequence[int]) -> list[int]:
    """Those of the processes that are still there."""
    alive = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                alive.append(pid)
    return alive


def lease_pids(sweep: conduct.Sweep) -> list[int]:
    """The workers that hold a run."""
    records_ = [job.folder(sweep.runs) for job in sweep.jobs if (job.folder(sweep.runs) / "run.json").exists()]
    return [lease["pid"] for folder in records_ if (lease := records.read(folder)["lease"])]


def conduct_here() -> int:
    """A whole sweep: RUNS ARMS SEEDS WORKERS LEASE; its storage is in the environment."""
    runs, arms, seeds, workers, lease = sys.argv[2:7]
    said = json.loads((Path(runs) / "behaviour.json").read_text())
    behaviour = {arm.replace("*", "all"): what for arm, what in said.items()}
    end_on_sigterm()
    where = storage.resolve(None) or ""
    sweep = sweep_of(Path(runs), arms.split(","), int(seeds), int(workers), where, float(lease), **behaviour)
    with full_disk(sweep.runs):
        return int(any(v.state == "failed" for v in conduct.conduct(sweep)))


if __name__ == "__main__":
    role = sys.argv[1]
    if role == "work":
        del sys.argv[1]
        sys.exit(command(lambda: worker.main(fake))())
    sys.exit(command(conduct_here)())
