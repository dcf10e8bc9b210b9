"""A claim as it can be put to a study, and the form of most: an effect of changing one option of the full model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from analysis.load import ArmResults, StudyResults
from analysis.questions.full_model import arm_with, full_model, levels_of, number_of, option_of
from analysis.questions.measures import Seeds
from analysis.results import metric_name
from analysis.stats import Interval, mean_interval_t, t_pvalue

Family = Literal["mechanism", "score", "system"]
TOKEN, NORM, NOISE = "token_loss", "embedding_norm", "noise_factor"
NOT_VARIED = "This study has no arm that differs from the full model in this alone: {}."


class Region(NamedTuple):
    """The values of an effect for which a claim holds: in words, the edges between the two sides, and the test."""

    criterion: str
    edges: tuple[float, ...]
    holds: Callable[[float], bool]


def above(edge: float, of: str = "") -> Region:
    """All above an edge."""
    return Region(f"above {edge:g}{of}".replace("-", "−"), (edge,), lambda effect: effect > edge)


def below(edge: float, of: str = "") -> Region:
    """All below an edge."""
    return Region(f"below {edge:g}{of}", (edge,), lambda effect: effect < edge)


def apart(ratio: float) -> Region:
    """All that are further from 1 than a ratio, either way."""
    words, edges = f"below 1/{ratio:g} or above {ratio:g}", (1 / ratio, ratio)
    return Region(words, edges, lambda effect: not 1 / ratio <= effect <= ratio)


POSITIVE = above(0.0)


@dataclass(frozen=True)
class Question:
    """A claim as it can be put to a study.

    family: the claims that Holm's correction counts together. x: one value per seed [n]. edges: where the effect passes
    from supporting the claim to contradicting it; holds: whether an effect supports it; criterion: the same in words.
    log: x are logarithms of ratios. p: instead of the t test against the edges. missing: why nothing can be tested.
    open: why nothing can be decided although there are values. void: why these values allow no verdict at all.
    note: what a reader must know besides.
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
    void: str = ""
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
        if self.p is not None or self.open or self.void:
            return math.nan if self.p is None or self.open or self.void else self.p
        shifts = [math.log(edge) if self.log else edge for edge in self.edges]
        return float(np.max([t_pvalue(self.values - shift) for shift in shifts]))  # NaN if one of them is


Note = Callable[[StudyResults, Sequence[ArmResults], np.ndarray], str]
Doubt = Callable[[StudyResults, Sequence[ArmResults]], str]
"""Why these runs can decide nothing, although there are values; empty if they can."""


def seeds_note(study: StudyResults, arms: Sequence[ArmResults], x: np.ndarray) -> str:
    """What is odd about the runs behind the values: seeds that gave none, runs that diverged; empty if nothing is."""
    names = [arm.name for arm in arms]
    scored, failed = (frame[frame["arm"].isin(names)] for frame in (study.scores, study.failed))
    seeds = {*scored["seed"], *failed.loc[failed["seed"] >= 0, "seed"]}
    missing, odd = len(seeds) - len(x), scored[scored["outcome"] != "ok"]
    why = "failed, not finished, or without what is measured here"
    fewer = f"{missing} of {len(seeds)} seeds gave no value ({why}): the others may be the lucky ones."
    notes = [fewer] if missing > 0 else []
    notes += [f"{row.label}, seed {row.seed}, {row.outcome}: it counts with what it gave." for row in odd.itertuples()]
    return " ".join(notes)


class Change(NamedTuple):
    """One option of the full model at another level, and that in words. needs: what the full model's own must be.

    alone: the claim is about that arm alone, which may then be the full model itself.
    """

    option: str
    level: object
    named: str
    needs: Callable[[object], bool] = lambda own: True
    alone: bool = False

    def varied(self, study: StudyResults) -> bool:
        """Whether arms of the study differ in the option, and one has this level, whether it has a result or not."""
        levels = levels_of(study, self.option)
        return len(levels) > 1 and self.level in levels

    def arms(self, study: StudyResults) -> list[ArmResults]:
        """The full model and the changed one, or the latter alone; empty if the study has not what it takes."""
        control, changed = full_model(study), arm_with(study, self.option, self.level)
        own = option_of(study, control, self.option) if control else None
        if self.alone and control and own == self.level:
            return [control]
        return ([changed] if self.alone else [control, changed]) if control and changed and self.needs(own) else []


@dataclass(frozen=True)
class Measurement:
    """What is measured of a change: its unit (the study's metric if empty), what is compared, and a value per seed [n].

    contrast: with the labels at {full} and {arm}. measure: of a study and the names of the arms. log: it gives
    logarithms of ratios. region: where a claim about it holds. notes: what else is said. doubt: see `Doubt`; void: the
    same of what allows no verdict.
    """

    unit: str
    contrast: str
    measure: Callable[..., np.ndarray]
    region: Region = POSITIVE
    log: bool = False
    family: Family = "mechanism"
    notes: tuple[Note, ...] = (seeds_note,)
    doubt: Doubt = lambda study, arms: ""
    void: Doubt = lambda study, arms: ""


class Claimed(NamedTuple):
    """A claim about a change of the full model.

    `varied` says whether a study is about it; called with a study it is the question that this study can answer.
    """

    key: str
    statement: str
    change: Change
    effect: Measurement

    def varied(self, study: StudyResults) -> bool:
        """Whether the study varies what the claim is about."""
        return self.change.varied(study)

    def __call__(self, study: StudyResults) -> Question:
        """The claim with what this study measured, or with what it lacks."""
        effect, arms = self.effect, self.change.arms(study)
        question = Question(self.key, self.statement, effect.family, effect.unit or metric_name(study))
        if not arms:
            return replace(question, missing=NOT_VARIED.format(self.change.named))
        x = effect.measure(study, *(arm.name for arm in arms))
        contrast = effect.contrast.format(full=arms[0].label, arm=arms[-1].label)
        note = " ".join(filter(None, (tell(study, arms, x) for tell in effect.notes)))
        question = replace(question, contrast=contrast, note=note, open=effect.doubt(study, arms))
        question = replace(question, void=effect.void(study, arms))
        return replace(question, x=x, log=effect.log, **effect.region._asdict())


class Asked(NamedTuple):
    """A claim with a test of its own: called with a study like `Claimed`."""

    key: str
    varied: Callable[[StudyResults], bool]
    ask: Callable[[StudyResults], Question]

    def __call__(self, study: StudyResults) -> Question:
        """The claim with what this study measured, or with what it lacks."""
        return self.ask(study)


def is_anchor(own: object) -> bool:
    """Whether the full model's token loss is the anchor loss."""
    return own == "anchor"


def is_noisy(own: object) -> bool:
    """Whether the full model has a noise factor above 1."""
    return number_of(own) > 1


def array(values: Seeds) -> np.ndarray:
    """The values [n], by rising seed."""
    return np.array(list(values.values()), dtype=float)


def logs(values: Seeds) -> Seeds:
    """Their logarithms."""
    return {seed: math.log(value) for seed, value in values.items()}
