"""What the paper says happens inside: embeddings that collapse or differ in length, steps with too little noise."""

from dataclasses import replace

import numpy as np

from analysis import observables as measured
from analysis.arms import full, number_of, replaced, setting
from analysis.load import Arm, Study
from analysis.questions.base import NOISE, NORM, NOT_VARIED, TOKEN, Question, array, at, logs, lost
from analysis.stats import paired

COLLAPSED = 0.1
"""Embeddings have collapsed when the denoising error falls below this share of the full model's, tokens lost."""
EVEN = 1.1
"""Norms of frequent and rare types within this ratio of each other count as even."""
COPIED = 50.0
"""Percent of tokens recovered by the nearest embedding from which on a step counts as insufficiently noisy."""


def collapse(study: Study, key: str, statement: str, level: str, named: str) -> Question:
    """Does the denoising error vanish with the embeddings under this token loss, all else as in the full model?"""
    question = Question(key, statement, "mechanism", "times the denoising error")
    on, arm = full(study), replaced(study, TOKEN, level)
    if on is None or arm is None or setting(study, on, TOKEN) != "anchor":
        return replace(question, missing=NOT_VARIED.format(named))
    values = measured.hollow_error(study, arm.name, on.name)
    return replace(
        question,
        contrast=f"denoising error (MSE) late in training, where predictions tell less of the tokens: {arm.label} over "
        f"{on.label}",
        criterion=f"below {COLLAPSED:g} of the full model's error",
        x=np.log(array(values)),
        edges=(COLLAPSED,),
        holds=lambda effect: effect < COLLAPSED,
        log=True,
        note=" ".join(part for part in (_spread(study, arm), lost(study, [on, arm], values)) if part),
    )


def _spread(study: Study, arm: Arm) -> str:
    """What is left of the embeddings, every type counted alike."""
    kept = array(measured.kept_variance(study, arm.name))
    return (
        f"Its embeddings keep {100 * kept.mean():.0f}% of their variance, counting each type once." if kept.size else ""
    )


def objective(study: Study) -> Question:
    """Denoising alone."""
    statement = (
        "The denoising objective alone, without a token loss, is minimised by collapse: error and tokens vanish."
    )
    return collapse(study, "objective_collapse", statement, "none", "no token loss")


def rounding(study: Study) -> Question:
    """The rounding loss."""
    statement = "The rounding loss does not prevent this collapse."
    return collapse(study, "rounding_collapse", statement, "rounding", "the rounding loss")


def anchor_spread(study: Study) -> Question:
    """Anchor against rounding: the embeddings."""
    statement = "The anchor loss keeps the embeddings further apart than the rounding loss does."
    question = Question("anchor_spread", statement, "mechanism", "times the variance")
    on, off = full(study), replaced(study, TOKEN, "rounding")
    if on is None or off is None or setting(study, on, TOKEN) != "anchor":
        return replace(question, missing=NOT_VARIED.format("the rounding loss in place of the anchor loss"))
    pair = [logs(measured.variance(study, arm.name)) for arm in (on, off)]
    return replace(
        question,
        contrast=f"variance of the embeddings at the end of training: {on.label} over {off.label}",
        criterion="above 1",
        x=paired(*pair),
        edges=(1.0,),
        holds=lambda effect: effect > 1,
        log=True,
        note=lost(study, [on, off], paired(*pair)),
    )


def imbalance(study: Study) -> Question:
    """The norms of frequent and rare types."""
    statement = "Without a normalization the embeddings of frequent and rare types differ in length."
    question = Question("norm_imbalance", statement, "mechanism", "times as long")
    arm = at(study, NORM, "none")
    if arm is None:
        return replace(question, missing=NOT_VARIED.format("no embedding norm"))
    values = measured.frequent_to_rare(study, arm.name)
    return replace(
        question,
        contrast=f"{arm.label}: median norm of z_0 of the most frequent fifth of the types over that of the rarest",
        criterion=f"below 1/{EVEN:g} or above {EVEN:g}",
        x=np.log(array(values)),
        edges=(1 / EVEN, EVEN),
        holds=lambda effect: not 1 / EVEN <= effect <= EVEN,
        log=True,
        note=lost(study, [arm], values),
    )


def insufficient(study: Study) -> Question:
    """What the nearest embedding gives away at F = 1."""
    statement = "With F = 1 the embedding nearest to z_t already gives most tokens away at small and middle t."
    question = Question("noise_insufficient", statement, "mechanism", "% of tokens")
    arm = at(study, NOISE, 1.0)
    if arm is None:
        return replace(question, missing=NOT_VARIED.format("F = 1"))
    values = measured.recovered(study, arm.name)
    return replace(
        question,
        contrast=f"{arm.label}: tokens recovered by the nearest embedding, mean over the first half of the t",
        criterion=f"above {COPIED:g}%",
        x=array(values),
        edges=(COPIED,),
        holds=lambda effect: effect > COPIED,
        note=lost(study, [arm], values),
    )


def degeneration(study: Study) -> Question:
    """The one-shot prediction from pure noise, F = 1 against the full model's."""
    statement = (
        "With F = 1 the network trusts z_t: its prediction from pure noise gets worse as t falls, more than with F > 1."
    )
    question = Question("noise_degeneration", statement, "mechanism", "BLEU")
    on, off = full(study), replaced(study, NOISE, 1.0)
    if on is None or off is None or not number_of(setting(study, on, NOISE)) > 1:
        return replace(question, missing=NOT_VARIED.format("F = 1 in place of F > 1"))
    x = paired(measured.one_shot_drop(study, off.name), measured.one_shot_drop(study, on.name))
    what = "fall of the one-shot BLEU from the largest to the smallest t"
    return replace(question, contrast=f"{what}: {off.label} minus {on.label}", criterion="above 0", x=x,
                   note=lost(study, [on, off], x))  # fmt: skip
