"""The rounds of a search: which points each arm tries, and what is left to run of them.

In a round every arm trains one new point, with every search seed, and then decodes its best model so far anew with some
other decoding options, which costs next to nothing. Every arm gets the same rounds. All of this is read from Optuna and
the run folders each time (`advance`), so a search that was killed, or two at once, go on from the same state.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from ablations import records
from ablations.studies import Arm, Study
from core.config import RunConfig, flat, with_values
from core.errors import UserError
from core.run_folder import RUN
from sweeps.running.optuna_private import id_of
from sweeps.running.plan import Job
from sweeps.running.reconcile import Again
from sweeps.running.storage import renewed
from sweeps.running.trials import score
from sweeps.tuning.arm_trials import DECODING, OVER, TRAINING, ArmTrials, best, part
from sweeps.tuning.points import Direction, Space, next_point, pruner_for

DIRECTIONS: dict[str, Direction] = {"score": "maximize", "time": "minimize"}


@dataclass(frozen=True)
class Search:
    """What is searched, for which arms, with which seeds, and how far.

    spaces: of all arms of the study, by name. facts: what search.json says besides.
    """

    title: str
    study: Study
    arms: tuple[Arm, ...]
    config: RunConfig
    spaces: Mapping[str, Space]
    seeds: tuple[int, ...]
    runs: Path
    storage: str
    name: str
    identify: Callable[[RunConfig], str]
    metric: str = "bleu"
    pruner: str = "median"
    objectives: tuple[str, ...] = ("score",)
    decodings: int = 2
    trials: int | None = None
    budget: float | None = None
    workers: int = 1
    devices: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """Name of the Optuna study that its runs wait in."""
        return f"{self.name}-runs"

    @property
    def folder(self) -> Path:
        """The search's folder."""
        return self.runs / self.title

    @property
    def score_name(self) -> str:
        """What runs of a search are judged by: never the name of a test score."""
        return f"val/{self.metric}"

    @property
    def updates(self) -> int:
        """Updates of one training."""
        return self.config.training.updates

    def redecodings(self, arm: str) -> int:
        """Points of an arm in a round that need no training."""
        return self.decodings if self.spaces[arm].decoding.dimensions else 0

    @cached_property
    def optuna(self) -> BaseStorage:
        """Optuna's storage."""
        return renewed(self.storage, lambda: any(records.busy(path.parent) for path in self.folder.glob(f"*/{RUN}")))

    @cached_property
    def arm_trials(self) -> dict[str, ArmTrials]:
        """The trials of each arm."""
        directions = tuple(DIRECTIONS[name] for name in self.objectives)
        pruner = pruner_for(self.pruner, self.updates)
        names = {arm.name: f"{self.name}-{arm.name}" for arm in self.arms}
        return {arm: ArmTrials(self.optuna, name, directions, pruner) for arm, name in names.items()}

    def job(self, arm: Arm, trial: FrozenTrial, index: int) -> Job:
        """The run of a trial with the search seed of that index."""
        values = {**arm.values, **self.spaces[arm.name].options(trial.params)}
        config = with_values(self.config, {**values, "seed": self.seeds[index]})
        part_, study = trial.user_attrs["part"], self.arm_trials[arm.name].name
        facts = {"trial": trial.number, "part": part_, "optuna_study": study, "trial_id": id_of(trial)}
        facts |= {"offset": index * self.updates, "updates": self.updates}
        facts["pruner"] = self.pruner if part_ == TRAINING else "none"
        names = (self.title, arm.name, arm.label, self.seeds[index], self.identify(config))
        return Job(*names, flat(config), dict(arm.toggles), values, {"search": facts})


def opened(search: Search) -> int:
    """Rounds that have begun."""
    return max(len(part(trials.read(), TRAINING)) for trials in search.arm_trials.values())


def complete(search: Search) -> int:
    """Rounds that are over for every arm."""
    rounds = []
    for arm, trials in search.arm_trials.items():
        over, redecodings = trials.read(*OVER), search.redecodings(arm)
        rounds.append(len(part(over, TRAINING)))
        rounds += [len(part(over, DECODING)) // redecodings] if redecodings else []
    return min(rounds)


def advance(search: Search, rounds: int, again: Again) -> list[Job]:
    """End the trials whose runs are through, begin those that come next; the runs that are now to be done.

    Raises UserError if a run was refused for a reason that the user can mend. To be called under the search's lock.
    """
    return [job for arm in search.arms for job in _advance(search, arm, rounds, again)]


def _advance(search: Search, arm: Arm, rounds: int, again: Again) -> list[Job]:
    own = search.arm_trials[arm.name]
    while True:
        trials = own.read()
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if running:
            if wanted := list(missing(search, arm, running[0], again)):
                return wanted
        elif following := upcoming(search, arm.name, trials, rounds):
            params, attributes = following
            own.begin(search.spaces[arm.name], params, **attributes)
        else:
            return []


def upcoming(
    search: Search, arm: str, trials: list[FrozenTrial], rounds: int
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The next point of an arm without a running trial, and what it is; None if its rounds are through."""
    trained, decoded = part(trials, TRAINING), part(trials, DECODING)
    space, redecodings, leader = search.spaces[arm], search.redecodings(arm), best(trials)
    so_far = space.defaults | (leader.params if leader else {})
    if len(decoded) < redecodings * len(trained):
        half, name, known, round_ = space.decoding, DECODING, decoded, len(decoded) // redecodings
        index = len(decoded) + 1  # its default is the first training's
    elif len(trained) < rounds:
        half, name, known, round_ = space.training, TRAINING, trained, len(trained)
        index = round_
    else:
        return None
    usable = [trial for trial in known if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    directions = [DIRECTIONS[objective] for objective in search.objectives]
    params = so_far | next_point(half, index, usable, directions)
    kind = "default" if index == 0 else "shared" if index <= len(half.shared) else "proposed"
    return params, {"part": name, "kind": kind, "index": index, "round": round_}


def missing(search: Search, arm: Arm, trial: FrozenTrial, again: Again) -> Iterator[Job]:
    """The runs of a running trial that are still to be done now; none: it is over, and ended here.

    With pruning a trial runs seed after seed, so that it can end early; without, all its seeds at once.
    """
    own, done = search.arm_trials[arm.name], list[Job]()
    prunable = search.pruner != "none" and trial.user_attrs["part"] == TRAINING
    for index in range(len(search.seeds)):
        job = search.job(arm, trial, index)
        folder = job.folder(search.runs)
        record = records.read(folder) if (folder / RUN).exists() else None
        if record and record["state"] == "failed" and not again(job, record):
            if record["refused"]:
                raise UserError(f"{folder}: {record['reason']}")
            facts = outcome(search, trial, [*done, job]) | {"reason": record["reason"]}
            own.end(trial, TrialState.FAIL, None, facts)
            return
        if not record or record["state"] != "finished":
            yield job
            if search.pruner != "none":
                return
            continue
        done.append(job)
        value = score(folder, search.score_name)
        if search.pruner == "wilcoxon" and record["outcome"] != "pruned":
            own.report(trial, index, value)
        may_end = prunable and index + 1 < len(search.seeds)
        if record["outcome"] == "pruned" or (may_end and own.would_prune(trial)):
            own.end(trial, TrialState.PRUNED, None, outcome(search, trial, done))
            return
    if len(done) == len(search.seeds):
        facts = outcome(search, trial, done)
        values = {"score": facts["value"], "time": facts["decode_ms"]}
        own.end(trial, TrialState.COMPLETE, [values[name] for name in search.objectives], facts)


def outcome(search: Search, trial: FrozenTrial, jobs: list[Job]) -> dict[str, Any]:
    """What came out of a trial's runs, and what they cost; runs that an earlier trial made cost nothing again."""
    folders = [job.folder(search.runs) for job in jobs]
    found = [records.read(folder) for folder in folders]
    ours = [r["cost"] for r in found if r.get("cost") and r["search"]["trial"] == trial.number]
    through = [(r, f) for r, f in zip(found, folders, strict=True) if r["state"] == "finished"]
    values = {str(r["seed"]): score(folder, search.score_name) for r, folder in through}
    times = [r["cost"]["decode_ms"] for r, _ in through if "decode_ms" in r["cost"]]
    return {
        "values": values,
        "value": sum(values.values()) / len(values) if values else None,
        "decode_ms": sum(times) / len(times) if times else None,
        "seconds": sum(cost["wall_s"] for cost in ours),
        "updates": sum(cost["updates"] for cost in ours),
        "outcomes": [r["outcome"] for r in found],
        "runs": [job.key for job in jobs],
    }
