"""What the paper says it buys: a better score by each module, the best by all three, the same with few steps."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.load import ArmResults, StudyResults
from analysis.questions import measures
from analysis.questions.base import NOISE, NORM, TOKEN, Measurement, Question, above, seeds_note
from analysis.questions.full_model import arm_with, full_model
from analysis.questions.measures import Seeds
from analysis.results import effects, metric_name
from analysis.stats import mean_interval_t, paired, t_pvalue

MARGIN = 1.0
"""BLEU that 20 steps may lose to the largest number of steps and still suffice."""
SUFFICIENT = 20
LEAST_SCORE = 10.0
"""BLEU below which a margin of 1 means nothing: a model that has learned nothing scores alike with any K."""


def score_difference(study: StudyResults, *arms: str) -> np.ndarray:
    """The score of the first arm minus that of the second [n seeds]."""
    return paired(*(study.values(study.metric, arm) for arm in arms))


def main_effect_note(study: StudyResults, arms: Sequence[ArmResults], _: np.ndarray) -> str:
    """The main effect of the factor in which two arms of a factorial differ, for comparison."""
    tested, (on, off) = effects(study), arms
    differing = [name for name in study.factors if on.toggles.get(name) != off.toggles.get(name)]
    rows = tested[tested["effect"].isin(differing)] if len(tested) else tested
    if len(rows) != 1:
        return ""
    row = rows.iloc[0]
    known = math.isfinite(row["estimate_low"])
    bounds = f" [{row['estimate_low']:+.1f}, {row['estimate_high']:+.1f}]" if known else ""
    text = f"Averaged over all settings of the other factors the effect is {row['estimate']:+.1f}{bounds}."
    return text.replace("-", "−")


GAIN = Measurement("", "{full} minus {arm}", score_difference, family="score", notes=(seeds_note, main_effect_note))


def all_three(study: StudyResults) -> Question:
    """The full model against every other combination."""
    question = Question("all_three", "All three together give the best score.", "score", metric_name(study))
    control = full_model(study)
    if control is None or not all(arm_with(study, *off) for off in ((TOKEN, "rounding"), (NORM, "none"), (NOISE, 1.0))):
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
        note=" ".join(part for part in (seeds_note(study, [control, rival], x[name]), AHEAD if ahead else "") if part),
    )


AHEAD = "The rival was picked because it is ahead, which flatters its lead; p is multiplied by the number of rivals."


def unknown_rivals(study: StudyResults) -> str:
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
    must be, and the smallest p counts, times the number of rivals. p is NaN where it takes a rival that cannot be
    compared: below two seeds, or without a spread.
    """
    intervals = {name: mean_interval_t(values) for name, values in x.items()}
    p = {name: t_pvalue(values) for name, values in x.items() if intervals[name].defined}
    better = [name for name in p if intervals[name].estimate < 0]
    if better:
        best = min(better, key=lambda name: p[name])
        return best, min(1.0, len(x) * p[best])
    unknown = [name for name in x if name not in p]
    if unknown:
        return min(unknown, key=lambda name: (len(x[name]), x[name].sum())), math.nan
    return min(x, key=lambda name: intervals[name].low), max(p.values())


def few_steps(study: StudyResults) -> Question:
    """20 steps against the most that were tried."""
    question = Question("few_steps", f"{SUFFICIENT} sampling steps suffice.", "score", "BLEU")
    control = full_model(study)
    found = _step_scores(study, control) if control else None
    if control is None or found is None:
        return replace(question, missing=f"This study does not decode with {SUFFICIENT} steps and with more.")
    most, scores, least = found
    if max([*scores[SUFFICIENT].values(), *scores[most].values()], default=0.0) < LEAST_SCORE:
        return replace(
            question, missing=f"The full model scores below {LEAST_SCORE:g} BLEU: that says nothing on steps."
        )
    what = f"{control.label}: BLEU with {SUFFICIENT} steps minus BLEU with {most}{on_sentences(study, control)}"
    x = paired(scores[SUFFICIENT], scores[most])
    arms = [arm for arm in study.arms if arm.toggles.get("steps") in (SUFFICIENT, most)]
    note = " ".join(filter(None, (seeds_note(study, arms if is_of_steps(study) else [control], x), least)))
    return replace(question, contrast=what, x=x, note=note, **above(-MARGIN, " BLEU")._asdict())


def on_sentences(study: StudyResults, control: ArmResults) -> str:
    """How many test sentences the full model was decoded with other numbers of steps on, if it is known."""
    if is_of_steps(study):
        return ""
    counts = study.steps.loc[study.steps["arm"] == control.name, "sentences"].dropna().unique()
    return f", on {int(counts[0])} test sentences" if len(counts) == 1 else ""


def is_of_steps(study: StudyResults) -> bool:
    """Whether the number of steps is what the study's arms differ in."""
    return "steps" in study.factors and len(study.factors) == 1


def _step_scores(study: StudyResults, control: ArmResults) -> tuple[int, dict[int, Seeds], str] | None:
    """The largest number of steps, scores by number of steps, and what the fewest give; None without 20 and more.

    From a study of the steps its arms on the whole test set, from any other study `by_steps` of the full model.
    """
    if is_of_steps(study):
        scores = {int(arm.toggles["steps"]): study.values("bleu", arm.name) for arm in study.arms}
    else:
        counts = measures.step_counts(study, control.name)
        scores = {steps: measures.bleu_at(study, control.name, steps) for steps in counts}
    most, fewest = max(scores, default=0), min(scores, default=0)
    if SUFFICIENT not in scores or most <= SUFFICIENT:
        return None
    fall = paired(scores[most], scores[fewest])
    note = f"With {fewest} steps: {-fall.mean():+.1f} BLEU against {most}.".replace("-", "−") if fall.size else ""
    return most, scores, note
