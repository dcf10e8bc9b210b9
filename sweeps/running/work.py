"""The work of a worker: take a waiting run, execute it, deliver its results, or tell the sweep that it failed."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from ablations import records
from ablations.place import Place
from core.errors import UserError
from core.run_folder import LOG
from sweeps.running import storage
from sweeps.running.attempt import Execute, attempt, output_to, reason_of
from sweeps.running.leases import heartbeat, site
from sweeps.running.plan import Job, job_from
from sweeps.running.pool import tail
from sweeps.running.trials import Queue

PATIENCE_SECONDS = 600.0
LOG_BYTES = 4096
"""How much of the end of a failed run's log the sweep is sent."""


class Undelivered(UserError):
    """A run is finished, and the storage does not answer."""


@dataclass(frozen=True)
class Worker:
    """Takes runs of a queue into the run folders of this host. wanted: the runs it takes; None = any that waits.

    helping: the sweep is elsewhere. data: folder of the text here, None = where the sweep has it. patience: seconds
    that the storage may not answer when a result is delivered.
    """

    queue: Queue
    runs: Path
    study: str
    metric: str
    execute: Execute
    helping: bool = False
    wanted: frozenset[str] | None = None
    data: str | None = None
    patience: float = PATIENCE_SECONDS

    @property
    def folder(self) -> Path:
        """The study's folder on this host."""
        return self.runs / self.study

    def take(self) -> tuple[FrozenTrial, Job] | None:
        """The next waiting run, its trial running and its folder claimed; None when there is no more."""
        here = site(self.folder)
        if (until := Place().until) is not None and time.monotonic() > until:
            return None
        with records.exclusive(self.folder / "sweep.lock"):
            for trial in self.queue.trials(TrialState.WAITING):
                job = job_from(trial.user_attrs).with_text(self.data)
                if (self.wanted is None or job.key in self.wanted) and self.queue.take(trial):
                    self.queue.note(trial, home=here, host=socket.gethostname(), pid=os.getpid())
                    folder = job.create(self.runs)
                    if records.claim(folder):
                        return trial, job
                    if records.read(folder)["state"] == "finished":
                        self.queue.deliver(job, folder, self.metric, here, trial)
                    else:
                        self.queue.drop(trial, "another process runs it")
        return None

    def run(self, trial: FrozenTrial, job: Job) -> Exception | None:
        """Execute one arm, write down how it ended, tell Optuna, and let go of its folder.

        Returns what the arm raised, if anything; raises interruptions, and Undelivered if the storage does not answer.
        """
        folder = job.folder(self.runs)
        try:
            with heartbeat(self.queue.note, trial, folder, self.queue.lease):
                with output_to(folder / LOG):
                    attempt(job, folder, self.execute)
                self._deliver(trial, job, folder)
        except Undelivered:
            raise
        except BaseException as error:
            self._report(trial, folder, error)
            if not isinstance(error, Exception):
                raise
            return error
        finally:
            records.release(folder)
        return None

    def _deliver(self, trial: FrozenTrial, job: Job, folder: Path) -> None:
        """Enter the finished run into the study; patiently, since the storage may be away for a while."""
        here = site(self.folder)
        try:
            storage.patiently(lambda: self.queue.deliver(job, folder, self.metric, here, trial), self.patience)
        except Exception as error:
            if not storage.lost(error):
                raise
            way = "start the same command again when it does, and the results are delivered"
            said = f"finished, but the storage does not answer ({storage.reason(error)}); {way}"
            raise Undelivered(f"{folder}: {said}") from error

    def _report(self, trial: FrozenTrial, folder: Path, error: BaseException) -> None:
        """Tell Optuna of a run that has no result; those elsewhere learn of a failure from this alone.

        One that helps gives back what it was interrupted in, or what its own host does not allow.
        """
        failed, refused = isinstance(error, Exception), isinstance(error, UserError)
        given_back = not failed or (self.helping and refused)
        log = tail(folder / LOG)[-LOG_BYTES:]
        facts = {} if given_back else {"failure": True, "refused": refused, "log": log}
        try:
            self.queue.drop(trial, reason_of(error) if failed else "interrupted", **facts)
            if self.helping and given_back:  # nobody may be there to do it
                self.queue.add(job_from(trial.user_attrs), TrialState.WAITING)
        except Exception as other:
            if not isinstance(other, OSError) and not storage.lost(other):
                raise
