"""The paper's claims as questions to a study: what is measured, compared with what, for which values a claim holds.

In the order of the paper's argument: objective collapse and the anchor loss, imbalanced scale and the norm,
insufficient noise and the noise factor, all together, few steps. A mechanism and its gain in score are two questions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis import observables as measured
from analysis.arms import full, number_of, replaced, setting
from analysis.load import Arm, Study
from analysis.observables import Seeds
from analysis.results import effects, metric_name
from analysis.stats import Interval, mean_interval_t, paired, t_pvalue

COLLAPSED = 0.5
"""Embeddings that keep less than this share of their first variance count as collapsed."""
EVEN = 1.1
"""Norms of frequent and rare types within this ratio of each other count as even."""
COPIED = 50.0
"""Percent of tokens recovered by the nearest embedding from which on a step counts as insufficiently noisy."""
MARGIN = 1.0
"""BLEU that 20 steps may lose to the largest number of steps and still suffice."""
SUFFICIENT = 20
LEAST_SCORE = 10.0
"""BLEU below which a margin of 1 means nothing: a model that has learned nothing scores alike with any K."""


@dataclass(frozen=True)
class Question:
    """A claim as it can be put to a study.

    x: one value per seed [n]. edges: where the effect passes from supporting the claim to contradicting it; holds:
    whether an effect supports it; criterion: the same in words. log: x are logarithms of ratios. p: instead of the
    t test against the edges. missing: why nothing can be tested. note: what a reader must know besides.
    """

    key: str
    statement: str
    unit: str = ""
    contrast: str = ""
    criterion: str = ""
    x: np.ndarray | None = None
    edges: tuple[float, ...] = (0.0,)
    holds: Callable[[float], bool] = lambda effect: effect > 0
    log: bool = False
    p: float | None = None
    missing: str = ""
    note: str = ""

    @property
    def values(self) -> np.ndarray:
        """x, or nothing."""
        return np.zeros(0) if self.x is None else self.x

    @property
    def interval(self) -> Interval:
        """The 95% t interval of x (as ratios, if x are logarithms)."""
        t = mean_interval_t(self.values)
        return replace(t, estimate=math.exp(t.estimate), low=math.exp(t.low), high=math.exp(t.high)) if self.log else t

    @property
    def pvalue(self) -> float:
        """The smallest error probability at which the interval still lies on one side of every edge; NaN untested."""
        if self.p is not None:
            return self.p
        shifts = [math.log(edge) if self.log else edge for edge in self.edges]
        return max((t_pvalue(self.values - shift) for shift in shifts), default=math.nan)


TOKEN, NORM, NOISE = "token_loss", "embedding_norm", "noise_factor"
NOT_VARIED = "This study has no arm that differs from the full model in this alone: {}."


def collapse(study: Study, key: str, statement: str, level: str, named: str) -> Question:
    """Do the embeddings collapse under this token loss, everything else as in the full model?"""
    question = Question(key, statement, "share of the variance at the start")
    arm = _at(study, TOKEN, level)
    if arm is None:
        return replace(question, missing=NOT_VARIED.format(named))
    values = measured.kept_variance(study, arm.name)
    return replace(
        question,
        contrast=f"{arm.label}: variance of the embeddings at the end of training over that at its start",
        criterion=f"below {COLLAPSED:g} of the variance at the start",
        x=np.log(_array(values)),
        edges=(COLLAPSED,),
        holds=lambda effect: effect < COLLAPSED,
        log=True,
        note=_lost(study, arm, values),
    )


def objective(study: Study) -> Question:
    """Denoising alone."""
    statement = "The denoising objective alone, without a token loss, lets the embeddings collapse."
    return collapse(study, "objective_collapse", statement, "none", "no token loss")


def rounding(study: Study) -> Question:
    """The rounding loss."""
    statement = "The rounding loss does not prevent the collapse."
    return collapse(study, "rounding_collapse", statement, "rounding", "the rounding loss")


def anchor_spread(study: Study) -> Question:
    """Anchor against rounding: the embeddings."""
    statement = "The anchor loss keeps the embeddings further apart than the rounding loss does."
    question = Question("anchor_spread", statement, "times the variance")
    on, off = full(study), replaced(study, TOKEN, "rounding")
    if on is None or off is None or setting(study, on, TOKEN) != "anchor":
        return replace(question, missing=NOT_VARIED.format("the rounding loss in place of the anchor loss"))
    pair = [_logs(measured.variance(study, arm.name)) for arm in (on, off)]
    return replace(
        question,
        contrast=f"variance of the embeddings at the end of training: {on.label} over {off.label}",
        criterion="above 1",
        x=paired(*pair),
        edges=(1.0,),
        holds=lambda effect: effect > 1,
        log=True,
        note=_lost(study, off, paired(*pair)),
    )


def gain(study: Study, key: str, statement: str, option: str, off: object, named: str) -> Question:
    """Does the full model score higher than the same without one module?"""
    question = Question(key, statement, metric_name(study))
    on, without = full(study), replaced(study, option, off)
    if on is None or without is None:
        return replace(question, missing=NOT_VARIED.format(named))
    x = paired(study.values(study.metric, on.name), study.values(study.metric, without.name))
    return replace(
        question,
        contrast=f"{on.label} minus {without.label}",
        criterion="above 0",
        x=x,
        note=" ".join(part for part in (_lost(study, without, x), _average(study, on, without)) if part),
    )


def anchor_gain(study: Study) -> Question:
    """Anchor against rounding: the score."""
    statement = "The anchor loss gives a better score than the rounding loss."
    return gain(study, "anchor_score", statement, TOKEN, "rounding", "the rounding loss in place of the anchor loss")


def imbalance(study: Study) -> Question:
    """The norms of frequent and rare types."""
    statement = "Without a normalization the embeddings of frequent and rare types differ in length."
    question = Question("norm_imbalance", statement, "times as long")
    arm = _at(study, NORM, "none")
    if arm is None:
        return replace(question, missing=NOT_VARIED.format("no embedding norm"))
    values = measured.frequent_to_rare(study, arm.name)
    return replace(
        question,
        contrast=f"{arm.label}: median norm of z_0 of the most frequent fifth of the types over that of the rarest",
        criterion=f"below 1/{EVEN:g} or above {EVEN:g}",
        x=np.log(_array(values)),
        edges=(1 / EVEN, EVEN),
        holds=lambda effect: not 1 / EVEN <= effect <= EVEN,
        log=True,
        note=_lost(study, arm, values),
    )


def norm_gain(study: Study) -> Question:
    """With against without the norm: the score."""
    statement = "The embedding norm improves the score."
    return gain(study, "norm_score", statement, NORM, "none", "no embedding norm")


def insufficient(study: Study) -> Question:
    """What the nearest embedding gives away at F = 1."""
    statement = "With F = 1 the embedding nearest to z_t already gives most tokens away at small and middle t."
    question = Question("noise_insufficient", statement, "% of tokens")
    arm = _at(study, NOISE, 1.0)
    if arm is None:
        return replace(question, missing=NOT_VARIED.format("F = 1"))
    values = measured.recovered(study, arm.name)
    return replace(
        question,
        contrast=f"{arm.label}: tokens recovered by the nearest embedding, mean over the first half of the t",
        criterion=f"above {COPIED:g}%",
        x=_array(values),
        edges=(COPIED,),
        holds=lambda effect: effect > COPIED,
        note=_lost(study, arm, values),
    )


def degeneration(study: Study) -> Question:
    """The one-shot prediction from pure noise, F = 1 against the full model's."""
    statement = (
        "With F = 1 the network trusts z_t: its prediction from pure noise gets worse as t falls, more than with F > 1."
    )
    question = Question("noise_degeneration", statement, "BLEU")
    on, off = full(study), replaced(study, NOISE, 1.0)
    if on is None or off is None or not number_of(setting(study, on, NOISE)) > 1:
        return replace(question, missing=NOT_VARIED.format("F = 1 in place of F > 1"))
    x = paired(measured.one_shot_drop(study, off.name), measured.one_shot_drop(study, on.name))
    what = "fall of the one-shot BLEU from the largest to the smallest t"
    return replace(question, contrast=f"{what}: {off.label} minus {on.label}", criterion="above 0", x=x,
                   note=_lost(study, off, x))  # fmt: skip


def noise_gain(study: Study) -> Question:
    """F against 1: the score."""
    control = full(study)
    factor = number_of(setting(study, control, NOISE)) if control else math.nan
    named = f"F = {factor:g}" if factor > 1 else "F > 1"
    statement = "A noise factor above 1 improves the score."
    question = gain(study, "noise_score", statement, NOISE, 1.0, f"F = 1 in place of {named}")
    return (
        question if factor > 1 else replace(question, missing=NOT_VARIED.format(f"F = 1 in place of {named}"), x=None)
    )


def together(study: Study) -> Question:
    """The full model against every other combination."""
    question = Question("all_three", "All three together give the best score.", metric_name(study))
    control = full(study)
    if control is None or not all(replaced(study, *off) for off in ((TOKEN, "rounding"), (NORM, "none"), (NOISE, 1.0))):
        return replace(question, missing="This study does not vary all three modules.")
    score = study.values(study.metric, control.name)
    others = [arm for arm in study.arms if arm.name != control.name]
    x = {arm.name: paired(score, study.values(study.metric, arm.name)) for arm in others}
    rival, p = _closest(x)
    return replace(
        question,
        contrast=f"{control.label} minus its closest rival of {len(others)}, {study.arm(rival).label}",
        criterion="above 0 for every other arm",
        x=x[rival],
        p=p,
        note=_lost(study, study.arm(rival), x[rival]),
    )


def _closest(x: dict[str, np.ndarray]) -> tuple[str, float]:
    """The rival whose interval reaches furthest below, and the p of the verdict that is still open.

    If no rival is better on average, only "reproduced" is: all comparisons must be significant, and the largest p
    counts (intersection-union test). Else only "not reproduced" is: one must be, and the smallest p counts, times
    their number.
    """
    if any(len(values) < 2 for values in x.values()):
        return min(x, key=lambda name: len(x[name])), math.nan
    better = [name for name, values in x.items() if values.mean() < 0]
    p = {name: t_pvalue(values) for name, values in x.items()}
    if better:
        best = min(better, key=lambda name: p[name])
        return best, min(1.0, len(x) * p[best])
    return min(x, key=lambda name: mean_interval_t(x[name]).low), max(p.values())


def few_steps(study: Study) -> Question:
    """20 steps against the most that were tried."""
    question = Question("few_steps", f"{SUFFICIENT} sampling steps suffice.", "BLEU")
    control = full(study)
    found = _step_scores(study, control) if control else None
    if control is None or found is None:
        return replace(question, missing=f"This study does not decode with {SUFFICIENT} steps and with more.")
    most, scores, least = found
    x = paired(scores[SUFFICIENT], scores[most])
    low = max(map(float, [*scores[SUFFICIENT].values(), *scores[most].values()]), default=0.0) < LEAST_SCORE
    if low:
        return replace(
            question, missing=f"The full model scores below {LEAST_SCORE:g} BLEU: that says nothing on steps."
        )
    return replace(
        question,
        contrast=f"{control.label}: BLEU with {SUFFICIENT} steps minus BLEU with {most}",
        criterion=f"above −{MARGIN:g} BLEU",
        x=x,
        edges=(-MARGIN,),
        holds=lambda effect: effect > -MARGIN,
        note=least,
    )


QUESTIONS = (
    objective,
    rounding,
    anchor_spread,
    anchor_gain,
    imbalance,
    norm_gain,
    insufficient,
    degeneration,
    noise_gain,
    together,
    few_steps,
)
"""In the order in which they are listed; Holm's correction counts those that a study can test."""


def _at(study: Study, option: str, level: object) -> Arm | None:
    """The full model if it has this level of the option, else the arm that differs from it in that alone."""
    control = full(study)
    if control is not None and setting(study, control, option) == level:
        return control
    return replaced(study, option, level)


def _step_scores(study: Study, control: Arm) -> tuple[int, dict[int, Seeds], str] | None:
    """The largest number of steps, scores by number of steps, and what the fewest give; None without 20 and more.

    From a study of the steps its arms on the whole test set, from any other study `by_steps` of the full model.
    """
    if "steps" in study.factors and len(study.factors) == 1:
        scores = {int(arm.toggles["steps"]): study.values("bleu", arm.name) for arm in study.arms}
    else:
        counts = measured.step_counts(study, control.name)
        scores = {steps: measured.bleu_at(study, control.name, steps) for steps in counts}
    most, fewest = max(scores, default=0), min(scores, default=0)
    if SUFFICIENT not in scores or most <= SUFFICIENT:
        return None
    fall = paired(scores[most], scores[fewest])
    note = f"{fewest} steps lose {fall.mean():.1f} BLEU to {most}." if fall.size else ""
    return most, scores, note


def _average(study: Study, on: Arm, off: Arm) -> str:
    """The main effect of the factor in which two arms of a factorial differ, for comparison."""
    tested = effects(study)
    differing = [name for name in study.factors if on.toggles.get(name) != off.toggles.get(name)]
    rows = tested[tested["effect"].isin(differing)] if len(tested) else tested
    if len(rows) != 1:
        return ""
    row = rows.iloc[0]
    bounds = f" [{row['estimate_low']:+.1f}, {row['estimate_high']:+.1f}]" if row["n_seeds"] > 1 else ""
    text = f"Averaged over all settings of the other factors the effect is {row['estimate']:+.1f}{bounds}."
    return text.replace("-", "−")


def _lost(study: Study, arm: Arm, values: Seeds | np.ndarray) -> str:
    """That some seeds of an arm gave no value: what is left may be the lucky ones."""
    lost = int((study.scores["arm"] == arm.name).sum()) - len(values)
    return f"{lost} of its seeds gave no value for this." if lost > 0 else ""


def _array(values: Seeds) -> np.ndarray:
    return np.array(list(values.values()), dtype=float)


def _logs(values: Seeds) -> Seeds:
    return {seed: math.log(value) for seed, value in values.items()}
