"""The loop of a sweep: bring Optuna into line with the run folders, keep workers at work, show how it goes."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from ablations import records
from ablations.place import UNTIL
from core.errors import TimeIsUp, UserError, masked_word
from core.reading.typed import printable
from core.run_folder import STUDY, write_json
from sweeps.running.display import Display, display
from sweeps.running.leases import BEATS, LEASE_SECONDS, Leases, site
from sweeps.running.plan import Job
from sweeps.running.pool import Pool, worker_command
from sweeps.running.progress import View, standing, view
from sweeps.running.reconcile import Attempts, accept_failures, reconcile
from sweeps.running.storage import ENVIRONMENT, local, lost, reason, renewed
from sweeps.running.trials import Queue, job_from

POLL_SECONDS = 1.0
RECONCILE_SECONDS = 5.0
STOP_SECONDS = 10.0
"""How long workers may take to close their runs when the sweep is interrupted."""
LAST_SECONDS = 120.0
"""How long runs whose training is over may decode, score and probe when the sweep's time is up."""
CLOSE_SECONDS = 90.0
"""How long workers may take to end once all runs are done (W&B may be sending)."""


@dataclass(frozen=True)
class Sweep:
    """What to run, where, by how many workers. facts: the content of study.json."""

    jobs: tuple[Job, ...]
    arms: tuple[str, ...]
    runs: Path
    storage: str
    queue: str
    metric: str
    workers: int
    devices: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    worker: tuple[str, ...] = (sys.executable, "-m", "sweeps.worker")
    poll_seconds: float = POLL_SECONDS
    lease_seconds: float = LEASE_SECONDS
    until: float | None = None
    """When the sweep ends, done or not, in seconds since 1970; None = when it is done."""

    @cached_property
    def folder(self) -> Path:
        """The study's folder."""
        return self.runs / self.jobs[0].study

    @property
    def heading(self) -> str:
        """One line that says what this is."""
        workers = f"{self.workers} worker" + "s" * (self.workers > 1)
        return " · ".join([self.jobs[0].study, f"{len(self.jobs)} runs", workers, str(self.folder)])

    @property
    def known(self) -> dict[str, Any]:
        """What workers anywhere are told through the storage."""
        told = {"study": self.jobs[0].study, "metric": self.metric, "lease": self.lease_seconds}
        told |= {"factors": self.facts.get("factors", {})}
        told |= {"corpus": self.facts.get("corpus_digest"), "commit": self.facts.get("commit")}
        return told | {"send": not local(self.storage)}


def conduct(sweep: Sweep, shown: Display | None = None) -> list[View]:
    """Run all that is missing; returns the runs as they stand at the end, failed ones included.

    Raises KeyboardInterrupt (Ctrl-C) and SystemExit (SIGTERM) after the workers have been ended.
    """
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--runs {sweep.runs}: cannot be made ({error.strerror}); name a folder to write to") from error
    for job in sweep.jobs:
        folder = job.folder(sweep.runs)
        if folder.is_dir() and (said := records.mend(folder)):
            print(printable(said), file=sys.stderr, flush=True)
    attempts, leases = Attempts(sweep.jobs, sweep.runs), Leases(sweep.lease_seconds)
    try:
        queue = set_up(sweep, attempts, leases)
    except Exception as error:
        if not lost(error):
            raise
        raise UserError(f"--storage {masked_word(sweep.storage)}: does not answer ({reason(error)})") from error
    line = worker_command(sweep.worker, sweep.queue, sweep.folder, sweep.metric)
    wanted, extra = [job.key for job in sweep.jobs], {ENVIRONMENT: sweep.storage}
    extra |= {} if sweep.until is None else {UNTIL: str(sweep.until)}
    workers = Pool(line, sweep.workers, wanted, sweep.folder / "workers.log", sweep.devices, extra)
    loop = SweepLoop(sweep, queue, attempts, leases, workers)
    try:
        lines = [sweep.heading, "; ".join(sweep.facts[name] for name in ("banner", "scoring") if sweep.facts.get(name))]
        with shown or display(lines, sweep.workers, sweep.metric) as screen:
            views = loop.run(screen)
            workers.wait(CLOSE_SECONDS)
        loop.synchronize()
    except (KeyboardInterrupt, SystemExit):
        end_workers(workers)
        done = sum(v.state == "finished" for v in loop.look())
        print(f"{done} of {len(sweep.jobs)} runs are done; others go on from their last checkpoint", file=sys.stderr)
        raise
    finally:
        workers.stop(STOP_SECONDS)
    return views


def end_workers(workers: Pool) -> None:
    """End the workers of what was interrupted."""
    print("ending the workers, which takes some seconds", file=sys.stderr, flush=True)
    workers.stop(STOP_SECONDS)


def set_up(sweep: Sweep, attempts: Attempts, leases: Leases | None = None) -> Queue:
    """Make the Optuna study and write study.json; one sweep at a time does this."""
    with records.exclusive(sweep.folder / "sweep.lock"):
        write_json(sweep.folder / STUDY, sweep.facts)
        opened = renewed(sweep.storage, lambda: any(records.busy(job.folder(sweep.runs)) for job in sweep.jobs))
        queue = Queue.create(opened, sweep.queue, sweep.arms, **sweep.known)
        queue.register(site(sweep.folder))
        for folder in [job.create(sweep.runs) for job in sweep.jobs]:
            if records.read(folder)["state"] == "failed" and not records.busy(folder):
                records.update(folder, state="pending")  # started again, a failed run gets another chance
        accept_failures(queue, sweep.jobs, sweep.runs)
        reconcile(queue, sweep.jobs, sweep.runs, sweep.metric, attempts.again, leases)
    return queue


@dataclass
class SweepLoop:
    """A sweep at work."""

    sweep: Sweep
    queue: Queue
    attempts: Attempts
    leases: Leases
    workers: Pool
    away: bool = False
    """Whether the storage did not answer when it was last asked."""
    done: dict[str, View] = field(default_factory=dict)
    """Finished runs, which are read once."""

    def look(self) -> list[View]:
        """All runs as they stand now."""
        sweep = self.sweep
        views = [self.done.get(job.key) or view(job, job.folder(sweep.runs), sweep.metric) for job in sweep.jobs]
        self.done |= {v.job.key: v for v in views if v.state == "finished"}
        return views

    def synchronize(self) -> int:
        """Bring Optuna into line with the folders; returns how many of our runs wait for a worker.

        A storage that does not answer is reported once and asked again the next time: what runs goes on.
        """
        sweep = self.sweep
        try:
            with records.exclusive(sweep.folder / "sweep.lock"):
                reconcile(self.queue, sweep.jobs, sweep.runs, sweep.metric, self.attempts.again, self.leases)
                ours = {job.key for job in sweep.jobs}
                waiting = sum(job_from(t.user_attrs).key in ours for t in self.queue.trials(TrialState.WAITING))
        except Exception as error:
            if not lost(error):
                raise
            self._report(f"the storage {masked_word(sweep.storage)} does not answer; what runs goes on", away=True)
            return 0
        self._report("the storage answers again", away=False)
        return waiting

    def _report(self, message: str, away: bool) -> None:
        if away != self.away:
            print(message, file=sys.stderr, flush=True)
        self.away = away

    def is_over(self, v: View) -> bool:
        """Whether nothing more will happen to a run in this sweep."""
        failed = v.state == "failed" and not self.attempts.left(v.job.key, v.attempts, v.refused)
        return failed or v.state == "finished"

    def time_is_over(self, views: Sequence[View]) -> bool:
        """Whether no run may begin any more. Raises TimeIsUp once none is at work, or has been for too long."""
        until, now = self.sweep.until, time.time()
        if until is None or now < until:
            return False
        if now > until + LAST_SECONDS or not any(v.state == "running" for v in views):
            raise TimeIsUp("time is up")
        return True

    def run(self, screen: Display) -> list[View]:
        """Until every run is over: look, show, replace workers that ended."""
        states: Sequence[str] = ()
        due, pause = 0.0, min(RECONCILE_SECONDS, self.sweep.lease_seconds / BEATS)
        while True:
            views = [as_told(v, self.leases, self.sweep.metric) for v in self.look()]
            screen.show(views)
            if all(self.is_over(v) for v in views):
                return views
            over = self.time_is_over(views)
            busy = {v.pid: v.job.key for v in views if v.pid is not None}
            ended = self.workers.maintain(0, busy)
            if over:
                time.sleep(self.sweep.poll_seconds)
                continue
            if ended or states != [v.state for v in views] or time.monotonic() > due:
                self.workers.maintain(self.synchronize(), busy)
                retry = any(v.state == "failed" and not self.is_over(v) for v in views)
                states, due = [v.state for v in views], time.monotonic() + (0 if retry else pause)
            time.sleep(self.sweep.poll_seconds)


def as_told(v: View, leases: Leases, metric: str) -> View:
    """A run as its worker on another host tells of it; as it stands here if it has none."""
    trial = leases.elsewhere.get(v.job.key)
    if trial is None or v.state in ("running", "finished"):
        return v
    told, started = trial.user_attrs.get("beat") or {}, trial.datetime_start
    seconds = (datetime.now() - started).total_seconds() if started else 0.0
    return replace(v, state="running", seconds=max(seconds, 0.0), **standing(v.job, told, metric))
