"""Brings an Optuna study and the run folders of this host, which are the truth, into line with each other."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ablations import records
from sweeps.running import parcels
from sweeps.running.leases import Leases, home
from sweeps.running.plan import Job
from sweeps.running.trials import Queue, by_run, score

Again = Callable[[Job, dict[str, Any]], bool]


@dataclass(frozen=True)
class Place:
    """Where one side of the comparison lies, and what is known of the workers that are not there."""

    runs: Path
    metric: str
    home: str
    leases: Leases
    again: Again
    file: bool
    """Whether the storage is a file, so that whoever takes trials from it is on this host or shares its files."""


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
    file = isinstance(getattr(queue.storage, "_backend", None), JournalFileBackend)
    place = Place(runs, metric, home(runs / jobs[0].study), leases, again, file)
    free = [(job, folder) for job in jobs if not records.busy(folder := job.create(runs))]
    known = by_run(queue.trials())  # after the look at the locks: a worker ends its trial, then lets go of the folder
    away = [t for ts in known.values() for t in ts if t.state == TrialState.RUNNING and not here(t, place)]
    leases.look(away)
    living = {trial.number for trial in away if leases.living(trial)}
    leases.elsewhere = {}
    for job, folder in free:
        trials = known.get(job.key, [])
        held = [trial for trial in trials if trial.number in living]
        leases.elsewhere |= {job.key: held[0]} if held else {}
        _settle(queue, job, folder, [t for t in trials if t not in held], bool(held), place)


def here(trial: FrozenTrial, place: Place) -> bool:
    """Whether a trial's worker shares our folders and locks.

    A worker takes a trial and says where it is under the sweep's lock, which we hold now: one that said nothing died
    in between. Only where others may have another lock do we wait for a sign of life.
    """
    return trial.user_attrs.get("home", place.home if place.file else None) == place.home


def overlook(queue: Queue, jobs: Iterable[Job], runs: Path) -> None:
    """Take the failures of the past elsewhere as told: started again, a sweep gives each run new attempts."""
    known = by_run(queue.trials(TrialState.FAIL))
    for job in jobs:
        if numbers := [trial.number for trial in known.get(job.key, [])]:
            records.update(job.folder(runs), told=numbers)


def _settle(queue: Queue, job: Job, folder: Path, trials: list[FrozenTrial], held: bool, place: Place) -> None:
    """One run that nobody here holds. held: a living worker elsewhere has it; `trials` are the others."""
    states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
    waiting, running, complete = ([t for t in trials if t.state == state] for state in states)
    if records.read(folder)["state"] != "finished":
        _receive(queue, folder, complete)
    if records.read(folder)["state"] == "finished":
        return None if held else _finished(queue, job, folder, waiting + running, bool(complete), place)
    for trial in running:
        _bury(queue, folder, trial, place)
    _tell(folder, [trial for trial in trials if trial.state == TrialState.FAIL and not here(trial, place)])
    if held:
        return None
    record = records.read(folder)
    if record["state"] == "running":
        record = _died(folder, job, record, place.again)
    for trial in waiting[1:]:
        if queue.take(trial):
            queue.drop(trial, "waiting twice")
    if place.again(job, record):
        if not waiting:
            queue.add(job, TrialState.WAITING)
    elif not waiting and record["state"] == "pending":  # another sweep meant to try it again, and was killed
        records.fail(folder, record["reason"] or "given up")
    return None


def _receive(queue: Queue, folder: Path, complete: list[FrozenTrial]) -> None:
    """Unpack what was finished elsewhere, under the lock that a worker here would need."""
    sent = [trial.user_attrs for trial in complete if "parcel" in trial.user_attrs]
    with records.reserved(folder) as free:
        if sent and free:
            parcels.unpack(parcels.fetch(queue.storage, sent[0]["parcel"]), folder, host=sent[0].get("host"))


def _finished(
    queue: Queue, job: Job, folder: Path, unfinished: list[FrozenTrial], complete: bool, place: Place
) -> None:
    """Exactly one completed trial for a finished run."""
    for trial in unfinished:
        if trial.state == TrialState.WAITING and not queue.take(trial):
            continue
        if complete or queue.wanted_elsewhere(place.home):
            queue.drop(trial, "done already")
        else:
            with contextlib.suppress(UpdateFinishedTrialError):  # its worker, taken for dead, has just done so itself
                queue.complete(trial, score(folder, place.metric))
            complete = True
    if not complete:
        queue.deliver(job, folder, place.metric, place.home)


def _bury(queue: Queue, folder: Path, trial: FrozenTrial, place: Place) -> None:
    """End the trial of a dead worker; elsewhere, that was a failed attempt, which the folder here does not know."""
    if here(trial, place):
        queue.drop(trial, records.read(folder)["reason"] or "its worker died")
        return
    reason = f"no sign of life of its worker on {trial.user_attrs.get('host', 'another host')}"
    queue.drop(trial, reason)
    _failed(folder, trial, reason, False)


def _tell(folder: Path, failed: list[FrozenTrial]) -> None:
    """Enter failures elsewhere into the folder here, each once; an interruption is none."""
    told = records.read(folder).get("told", [])
    for trial in failed:
        facts = trial.user_attrs
        if trial.number not in told and facts.get("failure"):
            with open(folder / "log.txt", "a", encoding="utf-8") as log:
                log.write(f"--- on {facts.get('host')}\n{facts.get('log', '')}\n")
            _failed(folder, trial, f"{facts['reason']} (on {facts.get('host')})", bool(facts.get("refused")))


def _failed(folder: Path, trial: FrozenTrial, reason: str, refused: bool) -> None:
    record = records.read(folder)
    told = [*record.get("told", []), trial.number]
    records.update(folder, attempts=record["attempts"] + 1, told=told)
    records.fail(folder, reason, refused)


def _died(folder: Path, job: Job, record: dict[str, Any], again: Again) -> dict[str, Any]:
    """Mark a run whose process vanished: pending if it may be tried again, else failed."""
    reason = "its process died (killed, or out of memory)"
    if again(job, record):
        return records.update(folder, state="pending", reason=reason, lease=None)
    records.fail(folder, reason)
    return records.read(folder)
