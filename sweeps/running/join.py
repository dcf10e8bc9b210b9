"""Help with a sweep begun on another host: which sweep, the same text, the same code; what was left; then its runs."""

import time
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import TrialState

from ablations import records
from ablations.provenance import commit
from core.config import flat, recorded
from core.errors import UserError
from core.run_folder import LOG, RUN
from core.text import corpus
from sweeps.running.attempt import reason_of
from sweeps.running.display import say
from sweeps.running.leases import BEATS, Leases, site
from sweeps.running.optuna_private import studies_in
from sweeps.running.plan import job_from
from sweeps.running.trials import Queue, by_run
from sweeps.running.work import Worker

IDLE_SECONDS = 5.0
FAILURES = 2
"""So many failed runs in a row end a worker that helps: something is wrong with its host."""


def queue_for(storage: BaseStorage, study: str) -> str:
    """The name of the only sweep in the storage, or of the only one whose folder is named `study`.

    Raises UserError naming those that are there.
    """
    sweeps = {name: facts["study"] for name, facts in studies_in(storage).items() if "study" in facts}
    fitting = [name for name, folder in sweeps.items() if not study or folder == study]
    if len(fitting) == 1:
        return fitting[0]
    if not sweeps:
        raise UserError("the storage holds no sweep; start it first, on any host: make sweep STORAGE=URL")
    known = ", ".join(f"{name} (study {folder})" for name, folder in sorted(sweeps.items()))
    found = "several sweeps fit" if fitting else f"no sweep of study {study}"
    raise UserError(f"{found}; choose by --queue: {known}. make worker ARGS=--queue=NAME")


def check(queue: Queue, data: str | None) -> None:
    """Compare text and options with the sweep's before anything is taken; says when the code is another.

    Raises UserError naming both digests if the text differs, or if this code makes other runs of the same options.
    """
    trials = queue.trials()
    if not trials:
        return
    original = job_from(trials[0].user_attrs)
    job = original.with_text(data)
    commits = queue.facts.get("commit"), commit()
    if commits[0] != commits[1]:
        say(f"note: this code is at commit {commits[1]}, the sweep's at {commits[0]}; run.json says which made a run")
    config = recorded(job.config)
    where = job.config.get("data")
    if where and not Path(where).expanduser().is_dir():
        raise UserError(f"the sweep's text is not at {where} on this host; say where: --data FOLDER (ARGS=--data=...)")
    ours, theirs = corpus.digest(config.data), queue.facts.get("corpus")
    if theirs and ours != theirs:
        way = "give the same text" if where else f"use the sweep's code, commit {commits[0]}"
        raise UserError(f"{where or 'embedded corpus'}: its digest is {ours}, the sweep's is {theirs}; {way}")
    if records.identity(flat(config), ours) != job.hash8:
        raise UserError(
            f"this code (commit {commits[1]}) has other options than the sweep's ({commits[0]}); use its code"
        )


def deliver_leftovers(worker: Worker) -> None:
    """Deliver runs that are finished here and unknown there (the storage did not answer when they were done), and give
    back those whose worker on this host was killed."""
    queue, here = worker.queue, site(worker.folder)
    with records.exclusive(worker.folder / "sweep.lock"):
        for key, trials in by_run(queue.trials()).items():
            folder, job = worker.folder / key, job_from(trials[0].user_attrs)
            if not (folder / RUN).exists() or records.busy(folder):
                continue
            mine = [t for t in trials if t.state == TrialState.RUNNING and t.user_attrs.get("home") == here]
            known = any(t.state == TrialState.COMPLETE for t in trials)
            if records.read(folder)["state"] == "finished":
                if mine or not known:
                    queue.deliver(job, folder, worker.metric, here, mine[0] if mine else None)
                    say(f"delivered {key}, finished earlier")
            elif mine:
                queue.drop(mine[0], "its worker died", failure=True)
                queue.add(job, TrialState.WAITING)
                say(f"given back {key}, whose worker here was killed")


def others_work(queue: Queue, leases: Leases) -> bool:
    """Whether others are at work: should one of them die, its run is waiting again."""
    running = queue.trials(TrialState.RUNNING)
    leases.look(running)
    return any(leases.alive(trial) for trial in running)


def help_out(worker: Worker) -> None:
    """Join a sweep begun elsewhere; returns when nothing waits and nobody is at work whose run might be given again.

    Raises UserError for what is wrong on this host: its text, its disk, or FAILURES runs in a row that fail.
    """
    queue = worker.queue
    check(queue, worker.data)
    deliver_leftovers(worker)
    others, failures = Leases(2 * queue.lease), 0
    say(f"{worker.study}: {len(queue.trials(TrialState.WAITING))} runs wait; results here in {worker.runs}")
    while (taken := worker.take()) is not None or others_work(queue, others):
        if taken is None:
            time.sleep(min(IDLE_SECONDS, queue.lease / BEATS))
            continue
        trial, job = taken
        say(f"started   {job.key}")
        error = worker.run(trial, job)
        failures = failures + 1 if error else 0
        say(f"finished  {job.key}" if error is None else f"failed    {job.key}: {reason_of(error)}")
        if isinstance(error, UserError):
            raise UserError(f"{job.key} cannot run on this host, and is left to others: {error}") from error
        if failures == FAILURES:
            raise UserError(f"{failures} runs in a row failed on this host; see {LOG} in {job.folder(worker.runs)}")
