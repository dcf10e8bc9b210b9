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
from sweeps.running.plan import Job
from sweeps.running.storage import open_storage
from sweeps.running.trials import score
from sweeps.tuning.ledger import DECODING, OVER, TRAINING, Ledger, best, part
from sweeps.tuning.points import Direction, Space, kind_of, next_point, pruner_for

DIRECTIONS: dict[str, Direction] = {"score": "maximize", "time": "minimize"}


@dataclass(frozen=True)
class Search:
    """What is searched, for which arms, with which seeds, and how far. facts: what search.json says besides."""

    title: str
    study: Study
    arms: tuple[Arm, ...]
    config: RunConfig
    space: Space
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

    @property
    def redecodings(self) -> int:
        """Points in a round that need no training."""
        return self.decodings if self.space.decoding.dimensions else 0

    @cached_property
    def optuna(self) -> BaseStorage:
        """Optuna's storage."""
        return open_storage(self.storage)

    @cached_property
    def ledgers(self) -> dict[str, Ledger]:
        """The trials of each arm."""
        directions = tuple(DIRECTIONS[name] for name in self.objectives)
        pruner = pruner_for(self.pruner, self.updates)
        names = {arm.name: f"{self.name}-{arm.name}" for arm in self.arms}
        return {arm: Ledger(self.optuna, name, directions, pruner) for arm, name in names.items()}

    def job(self, arm: Arm, trial: FrozenTrial, index: int) -> Job:
        """The run of a trial with the search seed of that index."""
        values = {**arm.values, **self.space.options(trial.params)}
        config = with_values(self.config, {**values, "seed": self.seeds[index]})
        facts = {"trial": trial.number, "part": trial.user_attrs["part"], "optuna_study": self.ledgers[arm.name].name}
        facts |= {"trial_id": trial._trial_id, "offset": index * self.updates, "updates": self.updates}
        facts["pruner"] = self.pruner if trial.user_attrs["part"] == TRAINING else "none"
        names = (self.title, arm.name, arm.label, self.seeds[index], self.identify(config))
        return Job(*names, flat(config), dict(arm.toggles), values, {"search": facts})


class Chances:
    """Each run has two attempts in one search, whatever happened to it before; a refusal is final."""

    def __init__(self, attempts: int = 2) -> None:
        self.attempts = attempts
        self.before: dict[str, int] = {}

    def __call__(self, job: Job, record: Mapping[str, Any]) -> bool:
        before = self.before.setdefault(job.key, record["attempts"])
        return record["attempts"] - before < self.attempts and not record["refused"]


def opened(search: Search) -> int:
    """Rounds that have begun."""
    return max(len(part(ledger.trials(), TRAINING)) for ledger in search.ledgers.values())


def complete(search: Search) -> int:
    """Rounds that are over for every arm."""
    return min(rounds_of(search, ledger.trials(*OVER)) for ledger in search.ledgers.values())


def rounds_of(search: Search, over: list[FrozenTrial]) -> int:
    """Rounds that are over for an arm with these settled trials."""
    trained, decoded = len(part(over, TRAINING)), len(part(over, DECODING))
    return min(trained, decoded // search.redecodings) if search.redecodings else trained


def advance(search: Search, rounds: int, again: Chances) -> list[Job]:
    """Settle the trials whose runs are through, begin those that come next; the runs that are now to be done.

    Raises UserError if a run was refused for a reason that the user can mend. To be called under the search's lock.
    """
    return [job for arm in search.arms for job in _advance(search, arm, rounds, again)]


def _advance(search: Search, arm: Arm, rounds: int, again: Chances) -> list[Job]:
    ledger = search.ledgers[arm.name]
    while True:
        trials = ledger.trials()
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if running:
            wanted = list(missing(search, arm, running[0], again))
            if wanted:
                return wanted
            continue
        following = upcoming(search, trials, rounds)
        if following is None:
            return []
        params, attributes = following
        ledger.begin(search.space, params, **attributes)


# What comes next


def upcoming(search: Search, trials: list[FrozenTrial], rounds: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The next point of an arm without a running trial, and what it is; None if its rounds are through."""
    trained, decoded = part(trials, TRAINING), part(trials, DECODING)
    leader = best(trials)
    so_far = search.space.defaults | (leader.params if leader else {})
    if len(decoded) < search.redecodings * len(trained):
        half, index, name = search.space.decoding, len(decoded), DECODING
        round_ = index // search.redecodings
        index += 1  # its default is the first training's
        known = decoded
    elif len(trained) < rounds:
        half, index, name = search.space.training, len(trained), TRAINING
        round_, known = index, trained
    else:
        return None
    usable = [trial for trial in known if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    directions = [DIRECTIONS[objective] for objective in search.objectives]
    params = so_far | next_point(half, index, usable, directions)
    return params, {"part": name, "kind": kind_of(half, index), "index": index, "round": round_}


# What is left of a trial


def missing(search: Search, arm: Arm, trial: FrozenTrial, again: Chances) -> Iterator[Job]:
    """The runs of a running trial that are still to be done now; none: it is over, and settled here.

    With pruning a trial runs seed after seed, so that it can end early; without, all its seeds at once.
    """
    ledger, done = search.ledgers[arm.name], list[Job]()
    for index in range(len(search.seeds)):
        job = search.job(arm, trial, index)
        folder = job.folder(search.runs)
        record = records.read(folder) if (folder / "run.json").exists() else None
        if record and record["state"] == "failed" and not again(job, record):
            _failed(search, ledger, trial, [*done, job], record)
            return
        if not record or record["state"] != "finished":
            yield job
            if search.pruner != "none":
                return
            continue
        done.append(job)
        value = score(folder, search.score_name)
        if search.pruner == "wilcoxon" and record["outcome"] != "pruned":
            ledger.report(trial, index, value)
        if record["outcome"] == "pruned" or (index + 1 < len(search.seeds) and _hopeless(search, ledger, trial)):
            ledger.settle(trial, TrialState.PRUNED, None, outcome(search, trial, done))
            return
    if len(done) == len(search.seeds):
        facts = outcome(search, trial, done)
        values = {"score": facts["value"], "time": facts["decode_ms"]}
        ledger.settle(trial, TrialState.COMPLETE, [values[name] for name in search.objectives], facts)


def _hopeless(search: Search, ledger: Ledger, trial: FrozenTrial) -> bool:
    return search.pruner != "none" and trial.user_attrs["part"] == TRAINING and ledger.hopeless(trial)


def _failed(search: Search, ledger: Ledger, trial: FrozenTrial, jobs: list[Job], record: Mapping[str, Any]) -> None:
    if record["refused"]:
        raise UserError(f"{jobs[-1].folder(search.runs)}: {record['reason']}")
    ledger.settle(trial, TrialState.FAIL, None, outcome(search, trial, jobs) | {"reason": record["reason"]})


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
