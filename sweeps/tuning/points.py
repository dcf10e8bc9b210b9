"""The points that a search tries for an arm: its dimensions, their defaults, and which point comes next.

A point has two halves: options of training, and options of decoding alone. The first point is the default, the next
ones are the same for every arm (a scrambled Halton sequence in relative coordinates, so that no arm is luckier in its
start), then the tree-structured Parzen estimator (TPE) proposes from the arm's own results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablations.ranges import Dimension, Levels, Range, absolute, default_of, options_at, options_set, within, without
from ablations.studies import Study
from core.config import RunConfig, all_options, decoding_names, with_values
from core.errors import UserError
from sweeps.running.optuna_private import multivariate_tpe, wilcoxon

STARTUP = 4
"""Points after the default that all arms share, in training and in decoding."""
WILCOXON_P = 0.1
WILCOXON_SEEDS = 5
"""With fewer seeds the signed-rank test cannot reach p < 0.1 before the last one: its smallest p is 1 / 2^seeds."""
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Half:
    """Dimensions that are tried together, in absolute numbers, and the default value of each.

    drawn: the dimensions that the shared points are drawn in, those of all arms together: an arm that lacks one has the
    others where they are for the arms that have it. Empty: its own.
    """

    dimensions: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    seed: int = 0
    drawn: tuple[str, ...] = ()

    @cached_property
    def shared(self) -> list[dict[str, Any]]:
        """The points after the default, which all arms share."""
        return shared_points(self.dimensions, self.drawn or tuple(self.dimensions), STARTUP, self.seed)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The dimensions as Optuna knows them."""
        return {name: distribution(each) for name, each in self.dimensions.items()}


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

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Both halves' dimensions as Optuna knows them."""
        return {**self.training.distributions, **self.decoding.distributions}

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a whole point sets."""
        found: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            found |= options_at(name, dimension, params[name]) if name in params else {}
        return found


def spaces_for(study: Study, config: RunConfig, seed: int = 0) -> dict[str, Space]:
    """The space of each arm: the study's nuisance parameters around the arm's own options.

    What the study varies is left out for all; what an arm does not have, for that arm. What an arm's recipe sets is
    tuned around it. Raises UserError if nothing is left for any arm, or if a default does not fit.
    """
    varied = set(study.varies)
    configs = {arm.name: all_options(with_values(config, arm.values)) for arm in study.arms}
    halves = {arm: _halves(without(study.nuisance, varied), own) for arm, own in configs.items()}
    if not any(training for training, _ in halves.values()):
        raise UserError(f"study {study.name}: its arms set all of its nuisance parameters, so nothing is left to tune")
    drawn = [[n for n in study.nuisance if any(n in both[i] for both in halves.values())] for i in (0, 1)]

    def half(arm: str, i: int) -> Half:
        dimensions = halves[arm][i]
        defaults = {name: default_of(name, each, configs[arm]) for name, each in dimensions.items()}
        return Half(dimensions, defaults, seed, tuple(drawn[i]))

    return {arm: Space(half(arm, 0), half(arm, 1)) for arm in halves}


def _halves(nuisance: Mapping[str, Dimension], config: Mapping[str, Any]) -> tuple[dict[str, Dimension], ...]:
    """The dimensions of training and of decoding alone that a flat configuration has the options for."""
    dimensions = {
        name: _possible(name, each, config) for name, each in absolute(within(nuisance, config), config).items()
    }
    free = decoding_names(config["method"])
    decoding = {name: each for name, each in dimensions.items() if options_set(name, each) <= free}
    training = {name: each for name, each in dimensions.items() if name not in decoding}
    return (training, decoding) if training else (decoding, {})


def _possible(name: str, dimension: Dimension, config: Mapping[str, Any]) -> Dimension:
    """Levels of K that the number of diffusion steps allows."""
    if not isinstance(dimension, Levels):
        return dimension
    steps = [options_at(name, dimension, level).get("decoding_steps", 1) for level in dimension.levels]
    fit = zip(dimension.levels, steps, strict=True)
    return Levels(tuple(level for level, K in fit if config.get("diffusion_steps", K) >= K))


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna knows it."""
    if isinstance(dimension, Levels):
        return CategoricalDistribution(list(dimension.levels))
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def shared_points(
    dimensions: Mapping[str, Dimension], drawn: Sequence[str], count: int, seed: int
) -> list[dict[str, Any]]:
    """Points spread over the unit cube of the dimensions `drawn`, in the numbers of those that are an arm's own."""
    if not dimensions:
        return []
    from scipy.stats import qmc  # takes seconds: not for --help

    shares = qmc.Halton(len(drawn), scramble=True, rng=seed).random(count)
    places = {name: drawn.index(name) for name in dimensions}
    return [{name: each.at(float(row[places[name]])) for name, each in dimensions.items()} for row in shares]


def next_point(half: Half, index: int, known: Sequence[FrozenTrial], directions: Sequence[Direction]) -> dict[str, Any]:
    """The values of a half that come at a place in an arm's order; known: what was tried of this half, and is over.

    Which point it is depends on the seed, the place and what is known, on nothing else: the same after a restart.
    """
    if index == 0 or not half.dimensions:
        return dict(half.defaults)
    if index <= len(half.shared):
        return dict(half.shared[index - 1])
    study = optuna.create_study(directions=list(directions), sampler=multivariate_tpe(half.seed + index))
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


def pruner_for(name: str, updates: int) -> BasePruner:
    """median: a training worse than the median of the arm's completed ones, from its middle on. wilcoxon: across seeds.

    Both compare a trial with trials of its own arm only.
    """
    if name == "median":
        return MedianPruner(n_startup_trials=3, n_min_trials=3, n_warmup_steps=updates // 2)
    if name == "wilcoxon":
        return wilcoxon(WILCOXON_P)
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


def described_space(space: Space) -> dict[str, Any]:
    """A space for search.json: its dimensions, those that need training, and the default point."""
    dimensions = {name: described(each) for name, each in space.dimensions.items()}
    return {"dimensions": dimensions, "trained": list(space.training.dimensions), "defaults": space.defaults}
