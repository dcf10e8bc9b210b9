"""The trials of a search in Optuna: one study per arm, a trial for each point that was tried.

A trial is made running, with its point, in one step of the storage, and ends complete, pruned or failed. Its user
attributes say what it is (part, kind, index, round) and, when it is over, what came out and what it cost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.running.optuna_private import TrialStore, would_prune
from sweeps.tuning.points import Direction, Space

TRAINING, DECODING = "training", "decoding"
"""Parts of a search: points whose model is trained, and points that only decode the arm's best model anew."""
OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATES |= {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}


@dataclass(frozen=True)
class ArmTrials:
    """One arm's trials."""

    storage: BaseStorage
    name: str
    directions: tuple[Direction, ...]
    pruner: BasePruner

    @cached_property
    def study(self) -> optuna.Study:
        """The Optuna study, made if it is not there."""
        return optuna.create_study(
            storage=self.storage,
            study_name=self.name,
            directions=list(self.directions),
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=self.pruner,
        )

    @property
    def store(self) -> TrialStore:
        """Its trials in the storage."""
        return TrialStore.of(self.study)

    def read(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none named: all), oldest first."""
        return [trial for trial in self.store.trials(*states) if "part" in trial.user_attrs]

    def begin(self, space: Space, params: Mapping[str, Any], **attributes: Any) -> None:
        """A running trial at a point."""
        self.store.add(create_trial(state=TrialState.RUNNING, **_point(space, params), user_attrs=attributes))

    def restore(self, space: Space, row: Mapping[str, Any]) -> None:
        """A trial that is over, as search.json has it."""
        state = next(state for state, name in STATES.items() if name == row["state"])
        names = ("part", "kind", "index", "round", "values", "value", "seconds", "updates", "runs", "outcomes")
        attributes = {name: row[name] for name in (*names, "decode_ms", "reason") if name in row}
        steps = {int(step): value for step, value in row.get("reports", {}).items()}
        values = {"values": row["objectives"]} if state == TrialState.COMPLETE else {}
        facts = {"user_attrs": attributes, "intermediate_values": steps, **values}
        self.store.add(create_trial(state=state, **_point(space, row["params"]), **facts))

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """A value on the way, once for each step."""
        if step not in self.store.again(trial).intermediate_values:
            self.store.report(trial, step, value)

    def would_prune(self, trial: FrozenTrial) -> bool:
        """Whether the pruner would end the trial now."""
        return would_prune(self.pruner, self.study, self.store.again(trial))

    def end(
        self, trial: FrozenTrial, state: TrialState, objectives: Sequence[float] | None, facts: Mapping[str, Any]
    ) -> None:
        """The end of a trial."""
        self.store.note(trial, facts)
        self.store.end(trial, state, objectives)


def _point(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    distributions = space.distributions
    return {"params": dict(params), "distributions": {name: distributions[name] for name in params}}


def part(trials: Iterable[FrozenTrial], name: str) -> list[FrozenTrial]:
    """The trials of a part, by rising index."""
    return sorted((t for t in trials if t.user_attrs["part"] == name), key=lambda t: t.user_attrs["index"])


def best(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The completed trial with the highest score, the first of equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda t: (t.values[0], -t.number), default=None)
