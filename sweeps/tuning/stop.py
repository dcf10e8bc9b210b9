"""A run of a search: trained and scored on the validation set, unless the search's pruner ends it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage

from ablations import records
from core.config import RunConfig
from sweeps.running.optuna_private import trial_at
from sweeps.tuning.arm_trials import ArmTrials
from sweeps.tuning.points import pruner_for


def train_and_validate(storage: BaseStorage, config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Train and validate one run of a search."""
    from ablations import place, search_run  # on demand: brings in torch, which says nothing about wrong options

    stop = Stop(storage, records.read(folder)["search"], config.training.metric)
    search_run.execute(config, folder, tracker, place.Place(), stop)


class Stop:
    """Reports each validation of a run to its trial in Optuna; true when the pruner would end it.

    facts: what the run's record says of its search. metric: what runs are judged by. The last validation of a training
    never ends it: only the score is missing then.
    """

    def __init__(self, storage: BaseStorage, facts: Mapping[str, Any], metric: str = "bleu") -> None:
        self.storage, self.facts, self.score = storage, facts, f"val/{metric}"

    def __call__(self, step: int, scores: Mapping[str, float]) -> bool:
        if self.facts["pruner"] != "median":
            return False
        pruner = pruner_for(self.facts["pruner"], self.facts["updates"])
        trials = ArmTrials(self.storage, self.facts["optuna_study"], ("maximize",), pruner)
        try:
            trial = trial_at(self.storage, self.facts["trial_id"])
            trials.report(trial, self.facts["offset"] + step, scores[self.score])
            return step < self.facts["updates"] and trials.would_prune(trial)
        except (KeyError, UpdateFinishedTrialError):  # the trial is over, or the storage a new one
            return False
