"""A worker of a sweep: takes waiting runs from the Optuna study, one after another, until none is left.

    python -m sweeps.worker --storage runs/modules/optuna.journal --queue modules-1a2b3c4d --runs runs --study modules

A sweep starts its workers itself, with `--wanted -`: the runs it wants stand on the first line of standard input,
whose end says that the sweep is gone; the worker then closes what it is doing, as it does on SIGTERM.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from optuna.trial import FrozenTrial, TrialState

from ablations import records
from core.config import RunConfig, with_values
from core.errors import UserError, command
from sweeps import tracking
from sweeps.plan import Job, job_from
from sweeps.storage import open_storage
from sweeps.trials import Queue, score

GRACE_SECONDS = 20.0
"""How long a worker told to end may take before it ends at once."""

Execute = Callable[[RunConfig, Path, records.Tracker], Any]


@dataclass(frozen=True)
class Options:
    """Take waiting runs of a sweep and run them, one after another, until none is left."""

    storage: str
    """The sweep's storage: path of the journal file, or URL."""
    queue: str
    """Name of the Optuna study (study.json says it)."""
    study: str
    """Name of the study's folder."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    metric: str = "bleu"
    """The score that Optuna is told."""
    wanted: str = ""
    """'-': read from standard input which runs to take, and end with it; empty: any run, whoever waits for it."""


def real(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Train, decode, score and probe one arm."""
    from ablations import arm  # on demand: brings in torch, which says nothing about wrong options

    arm.execute(config, folder, tracker, arm.Place())


def main(execute: Execute = real) -> int:
    """The command. `execute` runs one arm into its claimed folder, and finishes it."""
    options = tyro.cli(Options, prog="python -m sweeps.worker", description=__doc__)
    wanted = _follow_parent() if options.wanted == "-" else None
    signal.signal(signal.SIGTERM, _end)
    queue = Queue.load(open_storage(options.storage), options.queue)
    try:
        while (taken := take(queue, options, wanted)) is not None:
            run(queue, *taken, options, execute)
    finally:
        records.leave_all()
    return 0


# The life of the process


def _end(signum: int, frame: object) -> None:
    """SIGTERM: leave through every `with` and `finally`; a second one finds that under way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    timer = threading.Timer(GRACE_SECONDS, os._exit, args=(128 + signum,))
    timer.daemon = True
    timer.start()
    raise SystemExit(128 + signum)


def _follow_parent() -> frozenset[str]:
    """Read which runs are wanted; from then on end when standard input does."""
    wanted = frozenset(json.loads(sys.stdin.readline() or "[]"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to handle
    threading.Thread(target=_watch, daemon=True).start()
    return wanted


def _watch() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


# One run


def take(queue: Queue, options: Options, wanted: frozenset[str] | None) -> tuple[FrozenTrial, Job] | None:
    """The next waiting run, its trial running and its folder claimed; None when there is no more."""
    with records.exclusive(options.runs / options.study / "sweep.lock"):
        for trial in queue.trials(TrialState.WAITING):
            job = job_from(trial.user_attrs)
            if (wanted is None or job.key in wanted) and queue.take(trial):
                queue.note(trial, host=socket.gethostname(), pid=os.getpid())
                folder = job.create(options.runs)
                if records.claim(folder):
                    return trial, job
                _settle(queue, trial, folder, options.metric)
    return None


def _settle(queue: Queue, trial: FrozenTrial, folder: Path, metric: str) -> None:
    """End the trial of a run that is not ours to run."""
    if records.read(folder)["state"] == "finished":
        queue.complete(trial, score(folder, metric))
    else:
        queue.drop(trial, "another process runs it")


def run(queue: Queue, trial: FrozenTrial, job: Job, options: Options, execute: Execute) -> None:
    """Execute one arm, write down how it ended, tell Optuna, and let go of its folder."""
    folder = job.folder(options.runs)
    try:
        with output_to(folder / "log.txt"):
            attempt(job, folder, execute)
    except BaseException as error:
        _note(queue, trial, folder, error)
        if not isinstance(error, Exception):
            raise
    else:
        queue.note(trial, outcome=records.read(folder)["outcome"])
        queue.complete(trial, score(folder, options.metric))
    finally:
        records.release(folder)


def attempt(job: Job, folder: Path, execute: Execute) -> None:
    """Run the arm; its end, whatever it is, is in run.json and in the tracker before it is raised."""
    tracker: records.Tracker = records.NullTracker()
    try:
        tracker = tracking.tracker(folder)
        execute(with_values(RunConfig(), job.config), folder, tracker)
    except Exception as error:
        traceback.print_exc()
        records.fail(folder, reason_of(error), refused=isinstance(error, UserError))
        raise
    except BaseException:
        records.suspend(folder)
        raise
    finally:
        tracker.finish(records.read(folder)["state"])


def reason_of(error: BaseException) -> str:
    """One line for people: a user's mistake speaks for itself, anything else with its kind."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _note(queue: Queue, trial: FrozenTrial, folder: Path, error: BaseException) -> None:
    with contextlib.suppress(OSError):
        queue.drop(trial, reason_of(error) if isinstance(error, Exception) else "interrupted")


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send standard output and error, also those of libraries and child processes, to the end of a file."""
    saved = os.dup(1), os.dup(2)
    with open(path, "ab", buffering=0) as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}\n".encode())
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])


if __name__ == "__main__":
    sys.exit(command(main)())
