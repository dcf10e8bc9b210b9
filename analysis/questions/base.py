"""A claim as it can be put to a study, and what the questions about mechanisms and about scores share."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.arms import full, replaced, setting
from analysis.load import Arm, Study
from analysis.observables import Seeds
from analysis.stats import Interval, mean_interval_t, t_pvalue

Family = Literal["mechanism", "score"]
TOKEN, NORM, NOISE = "token_loss", "embedding_norm", "noise_factor"
NOT_VARIED = "This study has no arm that differs from the full model in this alone: {}."


@dataclass(frozen=True)
class Question:
    """A claim as it can be put to a study.

    family: the claims that Holm's correction counts together. x: one value per seed [n]. edges: where the effect passes
    from supporting the claim to contradicting it; holds: whether an effect supports it; criterion: the same in words.
    log: x are logarithms of ratios. p: instead of the t test against the edges. missing: why nothing can be tested.
    open: why nothing can be decided although there are values. note: what a reader must know besides.
    """

    key: str
    statement: str
    family: Family
    unit: str = ""
    contrast: str = ""
    criterion: str = ""
    x: np.ndarray | None = None
    edges: tuple[float, ...] = (0.0,)
    holds: Callable[[float], bool] = lambda effect: effect > 0
    log: bool = False
    p: float | None = None
    missing: str = ""
    open: str = ""
    note: str = ""

    @property
    def values(self) -> np.ndarray:
        """x, or nothing."""
        return np.zeros(0) if self.x is None else self.x

    @property
    def interval(self) -> Interval:
        """The 95% t interval of x (if x are logarithms, of the geometric mean of the ratios)."""
        t = mean_interval_t(self.values)
        return replace(t, estimate=math.exp(t.estimate), low=math.exp(t.low), high=math.exp(t.high)) if self.log else t

    @property
    def pvalue(self) -> float:
        """The smallest error probability at which the interval still lies on one side of every edge; NaN untested."""
        if self.p is not None or self.open:
            return math.nan if self.p is None or self.open else self.p
        shifts = [math.log(edge) if self.log else edge for edge in self.edges]
        return float(np.max([t_pvalue(self.values - shift) for shift in shifts]))  # NaN if one of them is


def at(study: Study, option: str, level: object) -> Arm | None:
    """The full model if it has this level of the option, else the arm that differs from it in that alone."""
    control = full(study)
    if control is not None and setting(study, control, option) == level:
        return control
    return replaced(study, option, level)


def lost(study: Study, arms: Iterable[Arm], values: Seeds | np.ndarray) -> str:
    """What is odd about the runs behind the values: seeds that gave none, runs that diverged; empty if nothing is."""
    names = [arm.name for arm in arms]
    scored, failed = (frame[frame["arm"].isin(names)] for frame in (study.scores, study.failed))
    seeds = {*scored["seed"], *failed.loc[failed["seed"] >= 0, "seed"]}
    missing, odd = len(seeds) - len(values), scored[scored["outcome"] != "ok"]
    fewer = f"{missing} of {len(seeds)} seeds gave no value (failed or not finished): the others may be the lucky ones."
    told = [fewer] if missing > 0 else []
    told += [f"{row.label}, seed {row.seed}, {row.outcome}: it counts with what it gave." for row in odd.itertuples()]
    return " ".join(told)


def array(values: Seeds) -> np.ndarray:
    """The values [n], by rising seed."""
    return np.array(list(values.values()), dtype=float)


def logs(values: Seeds) -> Seeds:
    """Their logarithms."""
    return {seed: math.log(value) for seed, value in values.items()}
