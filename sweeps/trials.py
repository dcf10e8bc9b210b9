"""The Optuna study that mirrors a sweep: a waiting trial for each run to do, a completed one for each run done.

Trials go from waiting to running by the storage's own atomic step, so no two workers anywhere take the same one; the
run folder's lock then guards the folder. `reconcile` brings the study into line with the folders, which are the truth.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablations import records
from core.config import digest
from sweeps.plan import Job, job_from

Again = Callable[[Job, dict[str, Any]], bool]
LARGEST_SEED = 2**31 - 1
OPEN = (TrialState.WAITING, TrialState.RUNNING)


def queue_name(study: str, arms: Iterable[Any], config: dict[str, Any]) -> str:
    """`<study>-<hash>`: the hash changes with the arms and with what they share, so a study's trials compare."""
    kept = {name: value for name, value in config.items() if name != "seed"}
    return f"{study}-{digest({'config': kept, 'arms': {arm.name: dict(arm.values) for arm in arms}})}"


@dataclass(frozen=True)
class Queue:
    """The trials of one Optuna study, by what a sweep does with them."""

    storage: BaseStorage
    study_id: int
    arms: tuple[str, ...]

    @classmethod
    def create(cls, storage: BaseStorage, name: str, arms: Iterable[str]) -> "Queue":
        """Make the study, or go on with the one that is there. Only a sweep calls this; workers load."""
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        study.set_user_attr("arms", list(arms))
        return cls.load(storage, name)

    @classmethod
    def load(cls, storage: BaseStorage, name: str) -> "Queue":
        """The study of that name."""
        study_id = storage.get_study_id_from_name(name)
        return cls(storage, study_id, tuple(storage.get_study_user_attrs(study_id)["arms"]))

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none named: all), oldest first."""
        found = self.storage.get_all_trials(self.study_id, deepcopy=False, states=states or None)
        return [trial for trial in found if "job" in trial.user_attrs]

    def add(self, job: Job, state: TrialState, value: float | None = None) -> None:
        """Enqueue a job (WAITING), or enter one that is done (COMPLETE, with its value)."""
        distributions = {"arm": CategoricalDistribution(self.arms), "seed": IntDistribution(1, LARGEST_SEED)}
        trial = create_trial(
            state=state,
            value=value,
            params={"arm": job.arm, "seed": job.seed},
            distributions=distributions,
            user_attrs={"job": asdict(job), "toggles": job.toggles, "hash": job.hash8},
        )
        self.storage.create_new_trial(self.study_id, template_trial=trial)

    def take(self, trial: FrozenTrial) -> bool:
        """Waiting -> running; False if somebody else was faster."""
        try:
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def note(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Attach facts to a trial that is not over."""
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial._trial_id, name, value)

    def complete(self, trial: FrozenTrial, value: float) -> None:
        """The end of a trial with a result."""
        self.storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [value])

    def drop(self, trial: FrozenTrial, reason: str) -> None:
        """The end of a trial without one."""
        self.note(trial, reason=reason)
        self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def score(folder: Path, metric: str) -> float:
    """The metric of a finished run; 0 should it not be finite, since Optuna takes NaN for a failure."""
    value = records.read_json(folder / "scores.json").get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def by_run(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Trials by the run they stand for."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        found.setdefault(job_from(trial.user_attrs).key, []).append(trial)
    return found


def reconcile(queue: Queue, jobs: Iterable[Job], runs: Path, metric: str, again: Again) -> None:
    """Bring the study into line with the run folders; to be called under the sweep's lock.

    Each run that a living process holds is left alone. A finished one gets its completed trial. Any other one gets one
    waiting trial if `again(job, record)` allows another attempt; trials of dead workers fail.
    """
    free = [(job, folder) for job in jobs if not records.busy(folder := job.create(runs))]
    known = by_run(queue.trials())  # after the look at the locks: a worker ends its trial, then lets go of the folder
    for job, folder in free:
        _settle(queue, job, folder, known.get(job.key, []), metric, again)


def _settle(
    queue: Queue,
    job: Job,
    folder: Path,
    trials: list[FrozenTrial],
    metric: str,
    again: Again,
) -> None:
    record = records.read(folder)
    waiting, running = ([t for t in trials if t.state == state] for state in OPEN)
    if record["state"] == "finished":
        complete = any(trial.state == TrialState.COMPLETE for trial in trials)
        return _finished(queue, job, score(folder, metric), waiting + running, complete)
    for trial in running:
        queue.drop(trial, record["reason"] or "its worker died")
    if record["state"] == "running":
        record = _died(folder, job, record, again)
    wanted = again(job, record)
    for trial in waiting[1:]:
        if queue.take(trial):
            queue.drop(trial, "waiting twice")
    if wanted and not waiting:
        queue.add(job, TrialState.WAITING)
    elif not waiting and record["state"] == "pending":  # another sweep meant to try it again, and was killed
        records.fail(folder, record["reason"] or "given up")
    return None


def _finished(queue: Queue, job: Job, value: float, unfinished: list[FrozenTrial], complete: bool) -> None:
    """Exactly one completed trial for a finished run."""
    for trial in unfinished:
        if trial.state == TrialState.WAITING and not queue.take(trial):
            continue
        if complete:
            queue.drop(trial, "done already")
        else:
            queue.complete(trial, value)
            complete = True
    if not complete:
        queue.add(job, TrialState.COMPLETE, value)


def _died(folder: Path, job: Job, record: dict[str, Any], again: Again) -> dict[str, Any]:
    """Mark a run whose process vanished: pending if it may be tried again, else failed."""
    reason = "its process died (killed, or out of memory)"
    if again(job, record):
        return records.update(folder, state="pending", reason=reason, lease=None)
    records.fail(folder, reason)
    return records.read(folder)
