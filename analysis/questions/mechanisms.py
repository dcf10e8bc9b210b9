"""What the paper says happens inside: embeddings that collapse or differ in length, steps with too little noise."""

from collections.abc import Sequence

import numpy as np

from analysis.load import ArmResults, StudyResults
from analysis.mixture import UNSOUND, mixed_in_probes, mixed_in_training
from analysis.questions import measures
from analysis.questions.base import Measurement, above, apart, array, below, logs, seeds_note
from analysis.stats import paired

COLLAPSED = 0.1
"""Embeddings have collapsed when the denoising error falls below this share of the full model's, tokens lost."""
EVEN = 1.1
"""Norms of frequent and rare types within this ratio of each other count as even."""
COPIED = 50.0
"""Percent of tokens recovered by the nearest embedding from which on a step counts as insufficiently noisy."""


def variance_note(study: StudyResults, arms: Sequence[ArmResults], _: np.ndarray) -> str:
    """What is left of the embeddings of the changed arm, every type of targets counted alike."""
    shares = array(measures.variance_share(study, arms[-1].name))
    types = "source and target types together" if mixed_in_training(study, [arms[-1].name]) else "each type of targets"
    words = "Its embeddings keep {:.0f}% of their variance, counting {} once."
    return words.format(100 * shares.mean(), types) if shares.size else ""


def variance_doubt(study: StudyResults, arms: Sequence[ArmResults]) -> str:
    """Whether the variance is that of what is diffused."""
    return UNSOUND if mixed_in_training(study, [arm.name for arm in arms]) else ""


def length_doubt(study: StudyResults, arms: Sequence[ArmResults]) -> str:
    """Whether the norms are those of what is diffused."""
    return UNSOUND if mixed_in_probes(study, [arm.name for arm in arms]) else ""


ERROR = Measurement(
    "times the denoising error",
    "denoising error (MSE) late in training, where predictions tell less of the tokens: {arm} over {full}",
    lambda study, full, arm: np.log(array(measures.error_ratio(study, arm, full))),
    below(COLLAPSED, " of the full model's error"),
    log=True,
    notes=(variance_note, seeds_note),
)
VARIANCE = Measurement(
    "times the variance",
    "variance of the embeddings at the end of training: {full} over {arm}",
    lambda study, *arms: paired(*(logs(measures.variance(study, arm)) for arm in arms)),
    above(1.0),
    log=True,
    doubt=variance_doubt,
)
LENGTH = Measurement(
    "times as long",
    "{arm}: median norm of z_0 of the most frequent fifth of the types of targets over that of the rarest",
    lambda study, arm: np.log(array(measures.frequent_to_rare(study, arm))),
    apart(EVEN),
    log=True,
    doubt=length_doubt,
)
RECOVERY = Measurement(
    "% of tokens",
    "{arm}: tokens recovered by the nearest embedding, mean over the first half of the t",
    lambda study, arm: array(measures.recovery(study, arm)),
    above(COPIED, "%"),
)
FALL = Measurement(
    "BLEU",
    "fall of the one-shot BLEU from the largest to the smallest t: {arm} minus {full}",
    lambda study, full, arm: paired(*(measures.one_shot_drop(study, each) for each in (arm, full))),
)
