"""The points that a search tries for an arm: its dimensions, their defaults, and which point comes next.

A point has two halves: options of training, and options of decoding alone. The first point is the default, the next
ones are the same for every arm (a scrambled Halton sequence in relative coordinates, so that no arm is luckier in its
start), then the tree-structured Parzen estimator (TPE) proposes from the arm's own results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablations.ranges import DECODING, Dimension, Levels, Range, absolute, default_of, options_at, options_set, without
from ablations.studies import Study
from core.errors import UserError

STARTUP = 4
"""Points after the default that all arms share, in training and in decoding."""
WILCOXON_P = 0.1
WILCOXON_SEEDS = 5
"""With fewer seeds the signed-rank test cannot reach p < 0.1 before the last one: its smallest p is 1 / 2^seeds."""
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Half:
    """Dimensions that are tried together, in absolute numbers, and the default value of each."""

    dimensions: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    seed: int = 0
    startup: int = STARTUP
    shared: tuple[Mapping[str, Any], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared", tuple(shared_points(self.dimensions, self.startup, self.seed)))

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The dimensions as Optuna knows them."""
        return {name: distribution(each) for name, each in self.dimensions.items()}

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a point sets."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            found |= options_at(name, self.dimensions[name], value)
        return found


@dataclass(frozen=True)
class Space:
    """All that is searched: the training half and the decoding half of a point.

    Where nothing of training is left to tune, the decoding options take its place, and the decoding half is empty.
    """

    training: Half
    decoding: Half

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """Both halves' dimensions."""
        return {**self.training.dimensions, **self.decoding.dimensions}

    @property
    def defaults(self) -> dict[str, Any]:
        """The default point."""
        return {**self.training.defaults, **self.decoding.defaults}

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a whole point sets."""
        halves = (self.training, self.decoding)
        parts = [half.options({n: v for n, v in params.items() if n in half.dimensions}) for half in halves]
        return parts[0] | parts[1]


def space_for(study: Study, config: Mapping[str, Any], seed: int = 0) -> Space:
    """The space of a study's nuisance parameters around a flat configuration; what its arms set is left out.

    Raises UserError if nothing is left, or if a default does not fit.
    """
    varied = {option for arm in study.arms for option in arm.values}
    dimensions = absolute(without(study.nuisance, varied), config)
    dimensions = {name: _possible(name, each, config) for name, each in dimensions.items()}
    if not dimensions:
        raise UserError(f"study {study.name}: its arms set all of its nuisance parameters, so nothing is left to tune")
    halves: list[dict[str, Dimension]] = [{}, {}]
    for name, each in dimensions.items():
        halves[options_set(name, each) <= DECODING][name] = each
    halves = halves if halves[0] else [halves[1], {}]
    made = [Half(half, {n: default_of(n, d, config) for n, d in half.items()}, seed) for half in halves]
    return Space(made[0], made[1])


def _possible(name: str, dimension: Dimension, config: Mapping[str, Any]) -> Dimension:
    """Levels of K that the number of diffusion steps allows."""
    if not isinstance(dimension, Levels):
        return dimension
    steps = [options_at(name, dimension, level).get("decoding_steps", 1) for level in dimension.levels]
    fit = zip(dimension.levels, steps, strict=True)
    return Levels(tuple(level for level, K in fit if config["diffusion_steps"] >= K))


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna knows it."""
    if isinstance(dimension, Levels):
        return CategoricalDistribution(list(dimension.levels))
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def shared_points(dimensions: Mapping[str, Dimension], count: int, seed: int) -> list[dict[str, Any]]:
    """Points spread over the unit cube, in the dimensions' numbers; the same shares for whichever arm asks."""
    if not dimensions:
        return []
    from scipy.stats import qmc  # takes seconds: not for --help

    shares = qmc.Halton(len(dimensions), scramble=True, rng=seed).random(count)
    return [{name: d.at(float(u)) for (name, d), u in zip(dimensions.items(), row, strict=True)} for row in shares]


def next_point(half: Half, index: int, known: Sequence[FrozenTrial], directions: Sequence[Direction]) -> dict[str, Any]:
    """The values of a half that come at a place in an arm's order; known: what was tried of this half, and is over.

    Which point it is depends on the seed, the place and what is known, on nothing else: the same after a restart.
    """
    if index == 0 or not half.dimensions:
        return dict(half.defaults)
    if index <= len(half.shared):
        return dict(half.shared[index - 1])
    sampler = TPESampler(n_startup_trials=0, multivariate=True, seed=half.seed + index)
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials([reduced(trial, half) for trial in known])
    return dict(study.ask(half.distributions).params)


def reduced(trial: FrozenTrial, half: Half) -> FrozenTrial:
    """A trial as if it had this half's dimensions alone."""
    params = {name: trial.params[name] for name in half.dimensions}
    steps = trial.intermediate_values
    values = {"values": trial.values} if trial.state == TrialState.COMPLETE else {}
    return create_trial(
        state=trial.state, params=params, distributions=half.distributions, intermediate_values=steps, **values
    )


def kind_of(half: Half, index: int) -> str:
    """default, shared or proposed."""
    return "default" if index == 0 else "shared" if index <= len(half.shared) else "proposed"


def pruner_for(name: str, updates: int) -> BasePruner:
    """median: a training worse than the median of the arm's completed ones, from its middle on. wilcoxon: across seeds.

    Both compare a trial with trials of its own arm only.
    """
    if name == "median":
        return MedianPruner(n_startup_trials=3, n_min_trials=3, n_warmup_steps=updates // 2)
    if name == "wilcoxon":
        return WilcoxonPruner(p_threshold=WILCOXON_P)
    return NopPruner()


def text(params: Mapping[str, Any]) -> str:
    """ "lr 0.0051, warmup 120": a point in a few words."""
    numbers = {n: f"{v:.3g}" if isinstance(v, float) else str(v) for n, v in params.items()}
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def described(dimension: Dimension) -> dict[str, Any]:
    """A dimension for search.json."""
    if isinstance(dimension, Range):
        return {"low": dimension.low, "high": dimension.high, "log": dimension.log, "whole": dimension.whole}
    return {"levels": list(dimension.levels)}
