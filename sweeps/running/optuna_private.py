"""All that we use of Optuna without its promise to keep it: private names, experimental classes, storages themselves.

Checked on Optuna 5.0.0. Its public API has no word for taking a waiting trial exactly once, or for a trial that another
process is at, so trials are read and written in the storage. Nothing else in the project does that (a house test).
"""

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, _CachedStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.trial import FrozenTrial, TrialState

CHECKED = "5.0.0"


@dataclass(frozen=True)
class TrialStore:
    """The trials of one Optuna study, in its storage. What changes a trial raises UpdateFinishedTrialError if it is
    over."""

    storage: BaseStorage
    study_id: int

    @classmethod
    def of(cls, study: optuna.Study) -> "TrialStore":
        """The trials of a study."""
        return cls(study._storage, study._study_id)

    @classmethod
    def named(cls, storage: BaseStorage, name: str) -> "TrialStore":
        """The trials of the study of that name. Raises KeyError if the storage has none."""
        return cls(storage, storage.get_study_id_from_name(name))

    @property
    def attributes(self) -> dict[str, Any]:
        """The study's user attributes."""
        return self.storage.get_study_user_attrs(self.study_id)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set one of them."""
        self.storage.set_study_user_attr(self.study_id, name, value)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none named: all), oldest first; not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False, states=states or None)

    def add(self, trial: FrozenTrial) -> FrozenTrial:
        """Enter a trial as it is, in one step; returns it with its number."""
        return self.storage.get_trial(self.storage.create_new_trial(self.study_id, template_trial=trial))

    def again(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as it stands now."""
        return self.storage.get_trial(trial._trial_id)

    def start(self, trial: FrozenTrial) -> bool:
        """Waiting -> running; False if somebody else was faster."""
        return self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)

    def note(self, trial: FrozenTrial, facts: Mapping[str, Any]) -> None:
        """Set user attributes of a trial."""
        for name, value in facts.items():
            self.storage.set_trial_user_attr(trial._trial_id, name, value)

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Set the value of a step."""
        self.storage.set_trial_intermediate_value(trial._trial_id, step, value)

    def end(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Running -> complete (with values), pruned or failed."""
        self.storage.set_trial_state_values(trial._trial_id, state, values)


def id_of(trial: FrozenTrial) -> int:
    """Its key in the storage, unlike its number unique over all studies there."""
    return trial._trial_id


def trial_at(storage: BaseStorage, key: int) -> FrozenTrial:
    """The trial of that key. Raises KeyError if there is none."""
    return storage.get_trial(key)


def studies_in(storage: BaseStorage) -> dict[str, dict[str, Any]]:
    """The user attributes of all studies, by name; their trials are not read."""
    return {study.study_name: study.user_attrs for study in storage.get_all_studies()}


def would_prune(pruner: BasePruner, study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a pruner would end a trial as it stands."""
    return pruner.prune(study, trial)


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Without the warning that a class is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def open_journal(path: str, lock: Any) -> BaseStorage:
    """Optuna's journal in a file, under a lock of ours."""
    with experimental():
        return JournalStorage(JournalFileBackend(path, lock_obj=lock))


def first_misfit(lines: Sequence[bytes]) -> int:
    """The number of the first line of a journal (from 1) that does not fit those before it; 0 if all do."""
    replay = JournalStorageReplayResult("another worker-")
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            replay.apply_logs([json.loads(line)])
        except Exception:  # a key that is missing, a study that is unknown: whatever Optuna meets
            return number
    return 0


def open_redis(url: str) -> BaseStorage:
    """Optuna's journal in Redis."""
    with experimental():
        return JournalStorage(JournalRedisBackend(url))


def open_grpc(host: str, port: int, connect_seconds: float, answer_seconds: float) -> BaseStorage:
    """Optuna's proxy; a call that is not answered in time fails (Optuna itself would wait for ever)."""
    with experimental():
        proxy = GrpcStorageProxy(host=host, port=port)
    proxy.wait_server_ready(timeout=connect_seconds)
    for name, call in vars(proxy._stub).items():
        setattr(proxy._stub, name, partial(call, timeout=answer_seconds))
    return proxy


def open_database(url: str, **engine: Any) -> BaseStorage:
    """A database; trials that are over are read once, so a look costs what is under way."""
    return _CachedStorage(RDBStorage(url, engine_kwargs=engine))


def is_file(storage: BaseStorage) -> bool:
    """Whether a storage is a journal file, which whoever takes trials from it shares with us."""
    return isinstance(getattr(storage, "_backend", None), JournalFileBackend)


def multivariate_tpe(seed: int) -> TPESampler:
    """TPE over all dimensions together, from the first trial on."""
    with experimental():
        return TPESampler(n_startup_trials=0, multivariate=True, seed=seed)


def wilcoxon(p: float) -> BasePruner:
    """Optuna's Wilcoxon pruner."""
    with experimental():
        return WilcoxonPruner(p_threshold=p)


def importance_by_fanova() -> None:
    """Have optuna-dashboard (checked on 0.21.0) compute importance by fANOVA.

    The PED-ANOVA it has built in describes the best trials alone: in a study whose arms differ by 67 BLEU it gave the
    seed 0.88 and the arm 0.12.
    """
    from optuna.importance import FanovaImportanceEvaluator
    from optuna_dashboard import _importance

    if hasattr(_importance, "PedAnovaImportanceEvaluator"):
        _importance.PedAnovaImportanceEvaluator = lambda: FanovaImportanceEvaluator(seed=0)
