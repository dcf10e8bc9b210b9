"""What the paper says it buys: a better score by each module, the best by all three, the same with few steps."""

import math
from dataclasses import replace

import numpy as np

from analysis import observables as measured
from analysis.arms import full, number_of, replaced, setting
from analysis.load import Arm, Study
from analysis.observables import Seeds
from analysis.questions.base import NOISE, NORM, NOT_VARIED, TOKEN, Question, lost
from analysis.results import effects, metric_name
from analysis.stats import mean_interval_t, paired, t_pvalue

MARGIN = 1.0
"""BLEU that 20 steps may lose to the largest number of steps and still suffice."""
SUFFICIENT = 20
LEAST_SCORE = 10.0
"""BLEU below which a margin of 1 means nothing: a model that has learned nothing scores alike with any K."""


def gain(study: Study, key: str, statement: str, option: str, off: object, named: str) -> Question:
    """Does the full model score higher than the same without one module?"""
    question = Question(key, statement, "score", metric_name(study))
    on, without = full(study), replaced(study, option, off)
    if on is None or without is None:
        return replace(question, missing=NOT_VARIED.format(named))
    x = paired(study.values(study.metric, on.name), study.values(study.metric, without.name))
    return replace(
        question,
        contrast=f"{on.label} minus {without.label}",
        criterion="above 0",
        x=x,
        note=" ".join(part for part in (lost(study, [on, without], x), _average(study, on, without)) if part),
    )


def anchor_gain(study: Study) -> Question:
    """Anchor against rounding: the score."""
    statement = "The anchor loss gives a better score than the rounding loss."
    return gain(study, "anchor_score", statement, TOKEN, "rounding", "the rounding loss in place of the anchor loss")


def norm_gain(study: Study) -> Question:
    """With against without the norm: the score."""
    statement = "The embedding norm improves the score."
    return gain(study, "norm_score", statement, NORM, "none", "no embedding norm")


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
    question = Question("all_three", "All three together give the best score.", "score", metric_name(study))
    control = full(study)
    if control is None or not all(replaced(study, *off) for off in ((TOKEN, "rounding"), (NORM, "none"), (NOISE, 1.0))):
        return replace(question, missing="This study does not vary all three modules.")
    score = study.values(study.metric, control.name)
    others = [arm for arm in study.arms if arm.name != control.name]
    x = {arm.name: paired(score, study.values(study.metric, arm.name)) for arm in others}
    name, p = closest(x)
    rival, ahead = study.arm(name), len(x[name]) > 0 and bool(x[name].mean() < 0)
    place = "a better" if ahead else "its closest"
    return replace(
        question,
        contrast=f"{control.label} minus {place} rival of {len(others)}, {rival.label}",
        criterion="above 0 for every other arm",
        x=x[name],
        p=p,
        open="" if ahead else unknown_rivals(study),
        note=" ".join(part for part in (lost(study, [control, rival], x[name]), AHEAD if ahead else "") if part),
    )


AHEAD = "The rival was picked because it is ahead, which flatters its lead; p is multiplied by the number of rivals."


def unknown_rivals(study: Study) -> str:
    """That arms of the study have no result, if so: the best score cannot be claimed over them."""
    present = {arm.name for arm in study.arms}
    absent = [
        str(arm.get("label") or arm["name"]) for arm in study.info.get("arms") or [] if arm["name"] not in present
    ]
    return f"Of every other arm a result is needed; there is none of {', '.join(absent)}." if absent else ""


def closest(x: dict[str, np.ndarray]) -> tuple[str, float]:
    """The rival that decides, and the p of the verdict that is still open.

    If no rival is better on average, only "reproduced" is: all comparisons must be significant, so the largest p
    counts (intersection-union test), and the interval that reaches furthest down. Else only "not reproduced" is: one
    must be, and the smallest p counts, times the number of rivals. p is NaN where a rival cannot be compared: below
    two seeds, or without a spread.
    """
    if any(len(values) < 2 for values in x.values()):
        return min(x, key=lambda name: (len(x[name]), x[name].sum())), math.nan
    p = {name: t_pvalue(values) for name, values in x.items()}
    better = [name for name, values in x.items() if values.mean() < 0]
    if better:
        best = min(better, key=lambda name: math.inf if math.isnan(p[name]) else p[name])
        return best, min(1.0, len(x) * p[best]) if math.isfinite(p[best]) else math.nan
    unknown = [name for name, value in p.items() if math.isnan(value)]
    if unknown:
        return unknown[0], math.nan
    return min(x, key=lambda name: mean_interval_t(x[name]).low), max(p.values())


def few_steps(study: Study) -> Question:
    """20 steps against the most that were tried."""
    question = Question("few_steps", f"{SUFFICIENT} sampling steps suffice.", "score", "BLEU")
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
        contrast=f"{control.label}: BLEU with {SUFFICIENT} steps minus BLEU with {most}{on_sentences(study, control)}",
        criterion=f"above −{MARGIN:g} BLEU",
        x=x,
        edges=(-MARGIN,),
        holds=lambda effect: effect > -MARGIN,
        note=least,
    )


def on_sentences(study: Study, control: Arm) -> str:
    """How many test sentences the full model was decoded with other numbers of steps on, if it is known."""
    if is_of_steps(study):
        return ""
    counts = study.steps.loc[study.steps["arm"] == control.name, "sentences"].dropna().unique()
    return f", on {int(counts[0])} test sentences" if len(counts) == 1 else ""


def is_of_steps(study: Study) -> bool:
    """Whether the number of steps is what the study's arms differ in."""
    return "steps" in study.factors and len(study.factors) == 1


def _step_scores(study: Study, control: Arm) -> tuple[int, dict[int, Seeds], str] | None:
    """The largest number of steps, scores by number of steps, and what the fewest give; None without 20 and more.

    From a study of the steps its arms on the whole test set, from any other study `by_steps` of the full model.
    """
    if is_of_steps(study):
        scores = {int(arm.toggles["steps"]): study.values("bleu", arm.name) for arm in study.arms}
    else:
        counts = measured.step_counts(study, control.name)
        scores = {steps: measured.bleu_at(study, control.name, steps) for steps in counts}
    most, fewest = max(scores, default=0), min(scores, default=0)
    if SUFFICIENT not in scores or most <= SUFFICIENT:
        return None
    fall = paired(scores[most], scores[fewest])
    note = f"With {fewest} steps: {-fall.mean():+.1f} BLEU against {most}.".replace("-", "−") if fall.size else ""
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
