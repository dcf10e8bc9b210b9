"""Brings an Optuna study and the run folders of this host, which are the truth, into line with each other."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ablations import records
from core.run_folder import LOG, RUN
from sweeps.running import transfer
from sweeps.running.leases import Leases, site
from sweeps.running.optuna_private import is_file
from sweeps.running.plan import Job
from sweeps.running.trials import Queue, by_run, score

Again = Callable[[Job, dict[str, Any]], bool]
"""Whether a run may be tried, by its record."""
LIMIT = 2
"""A failed run is tried once more."""


class Attempts:
    """Which runs may be tried (again): each has LIMIT attempts in one sweep or search, whatever happened to it before.

    A run that is not among `jobs` counts from when it is first asked about.
    """

    def __init__(self, jobs: Iterable[Job] = (), runs: Path = Path()) -> None:
        folders = {job.key: job.folder(runs) for job in jobs}
        self.before = {k: records.read(f)["attempts"] if (f / RUN).exists() else 0 for k, f in folders.items()}

    def left(self, key: str, attempts: int, refused: bool) -> bool:
        """Whether a run may be tried, after so many attempts in all; a refusal (a user's mistake) is final."""
        now = attempts - self.before.setdefault(key, attempts)
        return now < LIMIT and not (refused and now > 0)

    def again(self, job: Job, record: Mapping[str, Any]) -> bool:
        """The same for a job and its record."""
        return self.left(job.key, record["attempts"], record["refused"])


def reconcile(
    queue: Queue, jobs: Iterable[Job], runs: Path, metric: str, again: Again, leases: Leases | None = None
) -> None:
    """Bring study and folders into line; to be called under the sweep's lock.

    Each run that a living process holds, here or elsewhere, is left alone. What was finished elsewhere comes into its
    folder here. A finished run gets its completed trial. Any other one gets one waiting trial if `again(job, record)`
    allows another attempt; trials of dead workers fail. `leases` remembers from one call to the next who lives.
    """
    jobs = list(jobs)
    if not jobs:
        return
    leases = leases or Leases(queue.lease)
    sides = Sides(queue, metric, site(runs / jobs[0].study), again)
    free = [(job, folder) for job in jobs if not records.busy(folder := job.create(runs))]
    known = by_run(queue.trials())  # after the look at the locks: a worker ends its trial, then lets go of the folder
    away = [t for ts in known.values() for t in ts if t.state == TrialState.RUNNING and not sides.is_here(t)]
    leases.look(away)
    alive = {trial.number for trial in away if leases.alive(trial)}
    leases.elsewhere = {}
    for job, folder in free:
        trials = known.get(job.key, [])
        held = [trial for trial in trials if trial.number in alive]
        leases.elsewhere |= {job.key: held[0]} if held else {}
        sides.reconcile(job, folder, [t for t in trials if t not in held], bool(held))


def accept_failures(queue: Queue, jobs: Iterable[Job], runs: Path) -> None:
    """Take the failures of the past elsewhere as told: started again, a sweep gives each run new attempts."""
    known = by_run(queue.trials(TrialState.FAIL))
    for job in jobs:
        if numbers := [trial.number for trial in known.get(job.key, [])]:
            records.update(job.folder(runs), told=numbers)


@dataclass(frozen=True)
class Sides:
    """The two sides that are compared: the queue, and the folders of a site."""

    queue: Queue
    metric: str
    site: str
    again: Again

    def is_here(self, trial: FrozenTrial) -> bool:
        """Whether a trial's worker shares our folders and locks.

        A worker takes a trial and says where it is under the sweep's lock, which we hold now: one that said nothing
        died in between. Only where others may have another lock do we wait for a sign of life.
        """
        silent = self.site if is_file(self.queue.store.storage) else None
        return trial.user_attrs.get("home", silent) == self.site

    def reconcile(self, job: Job, folder: Path, trials: list[FrozenTrial], held: bool) -> None:
        """One run that nobody here holds. held: a living worker elsewhere has it; `trials` are the others."""
        states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        waiting, running, complete = ([t for t in trials if t.state == state] for state in states)
        if records.read(folder)["state"] != "finished":
            self._receive(folder, complete)
        if records.read(folder)["state"] == "finished":
            return None if held else self._complete(job, folder, waiting + running, bool(complete))
        for trial in running:
            self._end_dead(folder, trial)
        self._record_failures(folder, [t for t in trials if t.state == TrialState.FAIL and not self.is_here(t)])
        return None if held else self._enqueue(job, folder, waiting)

    def _receive(self, folder: Path, complete: list[FrozenTrial]) -> None:
        """Unpack what was finished elsewhere, under the lock that a worker here would need."""
        sent = [trial.user_attrs for trial in complete if "parcel" in trial.user_attrs]
        with records.reserved(folder) as free:
            if sent and free:
                content = transfer.fetch(self.queue.store.storage, sent[0]["parcel"])
                transfer.unpack(content, folder, host=sent[0].get("host"))

    def _complete(self, job: Job, folder: Path, unfinished: list[FrozenTrial], complete: bool) -> None:
        """Exactly one completed trial for a finished run."""
        for trial in unfinished:
            if trial.state == TrialState.WAITING and not self.queue.take(trial):
                continue
            if complete or self.queue.wanted_elsewhere(self.site):
                self.queue.drop(trial, "done already")
            else:
                with contextlib.suppress(UpdateFinishedTrialError):  # its worker, taken for dead, has just done so
                    self.queue.complete(trial, score(folder, self.metric))
                complete = True
        if not complete:
            self.queue.deliver(job, folder, self.metric, self.site)

    def _end_dead(self, folder: Path, trial: FrozenTrial) -> None:
        """End the trial of a dead worker; elsewhere, that was a failed attempt, which the folder does not know."""
        if self.is_here(trial):
            self.queue.drop(trial, records.read(folder)["reason"] or "its worker died")
            return
        reason = f"no sign of life of its worker on {trial.user_attrs.get('host', 'another host')}"
        self.queue.drop(trial, reason)
        _record_failure(folder, trial, reason, False)

    def _record_failures(self, folder: Path, failed: list[FrozenTrial]) -> None:
        """Enter failures elsewhere into the folder here, each once; an interruption is none."""
        told = records.read(folder).get("told", [])
        for trial in failed:
            facts = trial.user_attrs
            if trial.number not in told and facts.get("failure"):
                with open(folder / LOG, "a", encoding="utf-8") as log:
                    log.write(f"--- on {facts.get('host')}\n{facts.get('log', '')}\n")
                refused = bool(facts.get("refused"))
                _record_failure(folder, trial, f"{facts['reason']} (on {facts.get('host')})", refused)

    def _enqueue(self, job: Job, folder: Path, waiting: list[FrozenTrial]) -> None:
        """One waiting trial for a run that may be tried, none for another."""
        record = records.read(folder)
        if record["state"] == "running":  # and yet nobody holds it
            reason = "its process died (killed, or out of memory)"
            if self.again(job, record):
                record = records.update(folder, state="pending", reason=reason, lease=None)
            else:
                records.fail(folder, reason)
                record = records.read(folder)
        for trial in waiting[1:]:
            if self.queue.take(trial):
                self.queue.drop(trial, "waiting twice")
        if self.again(job, record):
            if not waiting:
                self.queue.add(job, TrialState.WAITING)
        elif not waiting and record["state"] == "pending":  # another sweep meant to try it again, and was killed
            records.fail(folder, record["reason"] or "given up")


def _record_failure(folder: Path, trial: FrozenTrial, reason: str, refused: bool) -> None:
    record = records.read(folder)
    told = [*record.get("told", []), trial.number]
    records.update(folder, attempts=record["attempts"] + 1, told=told)
    records.fail(folder, reason, refused)
