"""The Optuna study that mirrors a sweep: a waiting trial for each run to do, a completed one for each run done.

Trials go from waiting to running by the storage's own atomic step, so no two workers anywhere take the same one, and
of several trials for a run only the oldest is run (`take`): so sweeps on hosts that share no lock may each put a run
into the queue. The run folder's lock then guards the folder. reconcile.py brings study and folders into line.
"""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablations import records
from core.config import digest
from core.errors import UserError
from core.run_folder import SCORES, read
from sweeps.running import transfer
from sweeps.running.leases import LEASE_SECONDS
from sweeps.running.optuna_private import TrialStore
from sweeps.running.plan import Job, job_from

LARGEST_SEED = 2**31 - 1
OPEN = (TrialState.WAITING, TrialState.RUNNING)


def queue_name(study: str, arms: Iterable[Any], config: dict[str, Any]) -> str:
    """`<study>-<hash>`: the hash changes with the arms and with what they share, so a study's trials compare."""
    kept = {name: value for name, value in config.items() if name != "seed"}
    return f"{study}-{digest({'config': kept, 'arms': {arm.name: dict(arm.values) for arm in arms}})}"


@dataclass(frozen=True)
class Queue:
    """The trials of one Optuna study, by what a sweep does with them.

    facts: what the sweep tells workers anywhere: folder name of the study, metric, digest of the text, commit, lease.
    """

    store: TrialStore
    arms: tuple[str, ...]
    name: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, storage: BaseStorage, name: str, arms: Iterable[str], **facts: Any) -> "Queue":
        """Make the study, or go on with the one that is there. Only a sweep calls this; workers load."""
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        for key, value in {"arms": list(arms), **facts}.items():
            study.set_user_attr(key, value)
        return cls.load(storage, name)

    @classmethod
    def load(cls, storage: BaseStorage, name: str) -> "Queue":
        """The study of that name. Raises UserError if the storage has none, or it is something else."""
        try:
            store = TrialStore.named(storage, name)
        except KeyError:
            raise UserError(f"the storage holds no sweep named {name}; start the sweep first, by make sweep") from None
        facts = store.attributes
        if "arms" not in facts:
            raise UserError(f"{name} is no sweep, but another study of Optuna's")
        return cls(store, tuple(facts["arms"]), name, facts)

    @property
    def of_search(self) -> bool:
        """Whether these are a search's runs: there will be more, and they need the folder of those before them."""
        return "study" not in self.facts

    @property
    def lease(self) -> float:
        """Seconds of silence after which a worker elsewhere is taken for dead."""
        return float(self.facts.get("lease", LEASE_SECONDS))

    def register(self, site: str) -> None:
        """Make known a site (see leases.site) whose sweep wants all results."""
        self.store.set_attribute(f"home {site}", True)

    def wanted_elsewhere(self, site: str) -> bool:
        """Whether results that lie at this site are wanted at another one too."""
        attributes = self.store.attributes
        sites = {name.removeprefix("home ") for name in attributes if name.startswith("home ")}
        return bool(attributes.get("send")) or bool(sites - {site})

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none named: all), oldest first."""
        return [trial for trial in self.store.trials(*states) if "job" in trial.user_attrs]

    def of(self, key: str) -> list[FrozenTrial]:
        """The trials of one run, oldest first."""
        return [trial for trial in self.trials() if job_from(trial.user_attrs).key == key]

    def add(self, job: Job, state: TrialState, value: float | None = None) -> FrozenTrial:
        """Enqueue a job (WAITING), or enter one that is under way or done (COMPLETE, with its value)."""
        params, distributions = self.point(job)
        trial = create_trial(
            state=state,
            value=value,
            params=params,
            distributions=distributions,
            user_attrs={"job": asdict(job), "toggles": job.toggles, "hash": job.hash8},
        )
        return self.store.add(trial)

    def point(self, job: Job) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Parameters of a trial, for Optuna's plots and importance: arm, seed, and the toggles as text or numbers.

        A queue made before the toggles were parameters has no `factors`; its trials have arm and seed until a sweep
        goes on with it.
        """
        params: dict[str, Any] = {"arm": job.arm, "seed": job.seed}
        known: dict[str, BaseDistribution] = {"arm": CategoricalDistribution(self.arms)}
        known["seed"] = IntDistribution(1, LARGEST_SEED)
        for factor, levels in self.facts.get("factors", {}).items():
            choices = tuple(as_choice(level) for level in levels)
            if (choice := as_choice(job.toggles.get(factor))) in choices:
                params[factor], known[factor] = choice, CategoricalDistribution(choices)
        return params, known

    def take(self, trial: FrozenTrial) -> bool:
        """Waiting -> running; False if somebody else was faster, or an older trial stands for the same run.

        However late others come to know of a trial: it has a number once it can be taken, and older ones are seen.
        """
        try:
            if not self.store.start(trial):
                return False
        except UpdateFinishedTrialError:
            return False
        key = job_from(trial.user_attrs).key
        for other in self.of(key):
            if other.number < trial.number and other.state in OPEN:
                self.drop(trial, "waiting twice")
                return False
            if other.state == TrialState.COMPLETE and "parcel" in other.user_attrs:
                self.drop(trial, "done already")
                return False
        return True

    def note(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Attach facts to a trial that is not over."""
        self.store.note(trial, attributes)

    def complete(self, trial: FrozenTrial, value: float) -> None:
        """The end of a trial with a result."""
        self.store.end(trial, TrialState.COMPLETE, [value])

    def drop(self, trial: FrozenTrial, reason: str, **facts: Any) -> None:
        """The end of a trial without one; nothing happens to a trial that is over."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self.note(trial, reason=reason, **facts)
            self.store.end(trial, TrialState.FAIL)

    def deliver(self, job: Job, folder: Path, metric: str, site: str, trial: FrozenTrial | None = None) -> None:
        """Enter a finished run: a completed trial, with its results where they are wanted elsewhere.

        `trial`: the running trial to complete, if it is still ours. A run that is in already is not entered again.
        """
        try:
            self._enter(job, folder, metric, site, trial)
        except UpdateFinishedTrialError:  # others took us for dead in the meantime
            self._enter(job, folder, metric, site, None)

    def _enter(self, job: Job, folder: Path, metric: str, site: str, trial: FrozenTrial | None) -> None:
        now = {other.number: other for other in self.of(job.key)}
        ours = now[trial.number] if trial is not None and now[trial.number].state == TrialState.RUNNING else None
        done = [other for other in now.values() if other.state == TrialState.COMPLETE]
        if any("parcel" in other.user_attrs for other in done) or (done and ours is None):
            if ours is not None:
                self.drop(ours, "done already")
            return
        wanted = self.wanted_elsewhere(site)
        sent = transfer.send(self.store.storage, self.name, job.key, transfer.pack(folder)) if wanted else None
        ours = ours or self.add(job, TrialState.RUNNING)
        facts = {"home": site, "outcome": records.read(folder)["outcome"]} | ({"parcel": sent} if sent else {})
        self.note(ours, **facts)
        self.complete(ours, score(folder, metric))


def as_choice(level: Any) -> str | float:
    """A factor's level as a categorical value: numbers as they are, anything else (True, none) as text."""
    return level if isinstance(level, int | float) and not isinstance(level, bool) else str(level)


def score(folder: Path, metric: str) -> float:
    """The metric of a finished run; 0 should it not be finite, since Optuna takes NaN for a failure."""
    value = read(folder / SCORES).get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def by_run(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Trials by the run they stand for."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        found.setdefault(job_from(trial.user_attrs).key, []).append(trial)
    return found
