"""A worker of a sweep: takes waiting runs from the Optuna study, one after another, until none is left.

    python -m sweeps.worker --storage postgresql://user@host/database           # help with a sweep begun elsewhere
    python -m sweeps.worker --storage grpc://host:13000 --study modules --data path/to/multi30k

This host needs the same text (its digest is compared) and no file of the other: results go back through the storage.
A password is best kept in the environment: SWEEP_STORAGE=postgresql://user:password@host/database.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ablations import command_line, records
from core.config import RunConfig, with_values
from core.errors import UserError, command
from sweeps.running import join, plan, storage
from sweeps.running.leases import BEATS, Beat, Leases, home
from sweeps.running.plan import Job, job_from
from sweeps.running.pool import tail
from sweeps.running.storage import patiently
from sweeps.running.trials import Queue
from sweeps.wb import connection, tracking

GRACE_SECONDS = 20.0
"""How long a worker told to end may take before it ends at once."""
PATIENCE_SECONDS = 600.0
IDLE_SECONDS = 5.0
FAILURES = 2
"""So many failed runs in a row end a worker that helps: something is wrong with its host."""
LOG_BYTES = 4096
"""How much of the end of a failed run's log the sweep is sent."""

Execute = Callable[[RunConfig, Path, records.Tracker], Any]


@dataclass(frozen=True)
class Options:
    """Take waiting runs of a sweep and run them, one after another, until none is left."""

    storage: str = ""
    """The sweep's storage: URL, or path of the journal file; none = the variable SWEEP_STORAGE."""
    queue: str = ""
    """Name of the sweep in the storage (study.json: optuna_study); none = the only one, or that of --study."""
    study: str = ""
    """Name of the study's folder, if the storage holds several sweeps."""
    runs: Path = Path("runs")
    """Folder of all runs on this host."""
    data: str | None = None
    """Folder of the text on this host; none = where the sweep has it."""
    metric: str = ""
    """The score that Optuna is told; none = as the sweep says."""
    patience: float = PATIENCE_SECONDS
    """Seconds to wait for a storage that does not answer before giving up; results then stay in the run folders."""
    wanted: str = ""
    """'-': read from standard input which runs to take, and end with it; empty: any run, whoever waits for it."""


def real(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Train, decode, score and probe one arm."""
    from ablations import arm  # on demand: brings in torch, which says nothing about wrong options

    arm.execute(config, folder, tracker, arm.Place())


def main(execute: Execute = real) -> int:
    """The command. `execute` runs one arm into its claimed folder, and finishes it."""
    options = command_line.read(Options, prog="python -m sweeps.worker", description=__doc__)
    connection.check_mode()
    wanted = _follow_parent() if options.wanted == "-" else None
    signal.signal(signal.SIGTERM, _end)
    where = storage.chosen(options.storage)
    if where is None:
        raise UserError("no storage: give --storage URL (make worker STORAGE=URL), the one that the sweep was given")
    if wanted is None:
        storage.present(where)
    opened = storage.open_storage(where)
    queue = Queue.load(opened, options.queue or join.queue_for(opened, options.study))
    if wanted is None and "study" not in queue.facts:
        raise UserError(f"{queue.name} is a search, which needs its run folder: start make search where that is")
    study = plan.inside(options.study or queue.facts["study"])
    options = replace(options, queue=queue.name, study=study, metric=options.metric or queue.facts.get("metric", ""))
    try:
        if wanted is None:
            help_out(queue, options, execute)
        while (taken := take(queue, options, wanted)) is not None:
            run(queue, *taken, options, execute)
    except Exception as error:
        if not storage.lost(error):
            raise
        raise UserError(f"--storage {where}: does not answer any more ({storage.reason(error)})") from error
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


def help_out(queue: Queue, options: Options, execute: Execute) -> None:
    """Join a sweep begun elsewhere; returns when nothing waits and nobody is at work whose run might be given again.

    Raises UserError for what is wrong on this host: its text, its disk, or FAILURES runs in a row that fail.
    """
    join.check(queue, options.data)
    join.pay(queue, options.runs, options.study, options.metric)
    others, failures = Leases(2 * queue.lease), 0
    join.say(f"{options.study}: {len(queue.trials(TrialState.WAITING))} runs wait; results here in {options.runs}")
    while (taken := take(queue, options, None)) is not None or join.company(queue, others):
        if taken is None:
            time.sleep(min(IDLE_SECONDS, queue.lease / BEATS))
            continue
        trial, job = taken
        join.say(f"started   {job.key}")
        error = run(queue, trial, job, options, execute)
        failures = failures + 1 if error else 0
        join.say(f"finished  {job.key}" if error is None else f"failed    {job.key}: {reason_of(error)}")
        if isinstance(error, UserError):
            raise UserError(f"{job.key} cannot run on this host, and is left to others: {error}") from error
        if failures == FAILURES:
            raise UserError(f"{failures} runs in a row failed on this host; see log.txt in {job.folder(options.runs)}")


# One run


def take(queue: Queue, options: Options, wanted: frozenset[str] | None) -> tuple[FrozenTrial, Job] | None:
    """The next waiting run, its trial running and its folder claimed; None when there is no more."""
    study = options.runs / options.study
    with records.exclusive(study / "sweep.lock"):
        for trial in queue.trials(TrialState.WAITING):
            job = join.at(job_from(trial.user_attrs), options.data)
            if (wanted is None or job.key in wanted) and queue.take(trial):
                queue.note(trial, home=home(study), host=socket.gethostname(), pid=os.getpid())
                folder = job.create(options.runs)
                if records.claim(folder):
                    return trial, job
                _settle(queue, trial, job, folder, options)
    return None


def _settle(queue: Queue, trial: FrozenTrial, job: Job, folder: Path, options: Options) -> None:
    """End the trial of a run that is not ours to run."""
    if records.read(folder)["state"] == "finished":
        queue.deliver(job, folder, options.metric, home(folder.parent), trial)
    else:
        queue.drop(trial, "another process runs it")


def run(queue: Queue, trial: FrozenTrial, job: Job, options: Options, execute: Execute) -> Exception | None:
    """Execute one arm, write down how it ended, tell Optuna, and let go of its folder.

    Returns what the arm raised, if anything; raises interruptions, and Undelivered if the storage does not answer.
    """
    folder = job.folder(options.runs)
    try:
        with Beat(queue.note, trial, folder, queue.lease):
            with output_to(folder / "log.txt"):
                attempt(job, folder, execute)
            _deliver(queue, trial, job, options)
    except Undelivered:
        raise
    except BaseException as error:
        _note(queue, trial, folder, error, helping=options.wanted != "-")
        if not isinstance(error, Exception):
            raise
        return error
    finally:
        records.release(folder)
    return None


class Undelivered(UserError):
    """A run is finished, and the storage does not answer."""


def _deliver(queue: Queue, trial: FrozenTrial, job: Job, options: Options) -> None:
    """Enter the finished run into the study; patiently, since the storage may be away for a while."""
    folder = job.folder(options.runs)
    try:
        patiently(
            lambda: queue.deliver(job, folder, options.metric, home(folder.parent), trial), seconds=options.patience
        )
    except Exception as error:
        if not storage.lost(error):
            raise
        way = "start the same command again when it does, and the results are delivered"
        said = f"finished, but the storage does not answer ({storage.reason(error)}); {way}"
        raise Undelivered(f"{folder}: {said}") from error


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


def _note(queue: Queue, trial: FrozenTrial, folder: Path, error: BaseException, helping: bool) -> None:
    """Tell Optuna of a run that has no result; those elsewhere learn of a failure from this alone.

    One that helps gives back what it was interrupted in, or what its own host does not allow.
    """
    reason = reason_of(error) if isinstance(error, Exception) else "interrupted"
    given_back = not isinstance(error, Exception) or (helping and isinstance(error, UserError))
    log = tail(folder / "log.txt")[-LOG_BYTES:]
    facts = {} if given_back else {"failure": True, "refused": isinstance(error, UserError), "log": log}
    try:
        queue.drop(trial, reason, **facts)
        if helping and given_back:  # nobody may be there to do it
            queue.add(job_from(trial.user_attrs), TrialState.WAITING)
    except Exception as other:
        if not isinstance(other, OSError) and not storage.lost(other):
            raise


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
