"""The paper's claims as questions to a study: what is changed, what is measured of it, for which values a claim holds.

In the order of the paper's argument: objective collapse and the anchor loss, imbalanced scale and the norm,
insufficient noise and the noise factor, all together, few steps, and the comparison with other systems. A mechanism and
its gain in score are two questions.
"""

from analysis.load import StudyResults
from analysis.questions.base import NOISE, NORM, TOKEN, Asked, Change, Claimed, Question, is_anchor, is_noisy
from analysis.questions.mechanisms import ERROR, FALL, LENGTH, RECOVERY, VARIANCE
from analysis.questions.scores import GAIN, all_three, few_steps, is_of_steps
from analysis.questions.systems import SYSTEMS

__all__ = ["QUESTIONS", "Question", "asked_of", "unknown_claims"]

NO_ANCHOR = Change(TOKEN, "rounding", "the rounding loss in place of the anchor loss", is_anchor)
LOW_NOISE = Change(NOISE, 1.0, "F = 1 in place of F > 1", is_noisy)
NO_NORM = Change(NORM, "none", "no embedding norm")

CHANGES: tuple[Claimed | Asked, ...] = (
    Claimed(
        "objective_collapse",
        "The denoising objective alone, without a token loss, is minimised by collapse: error and tokens vanish.",
        Change(TOKEN, "none", "no token loss", is_anchor),
        ERROR,
    ),
    Claimed(
        "rounding_collapse",
        "The rounding loss does not prevent the collapse of the denoising objective.",
        Change(TOKEN, "rounding", "the rounding loss", is_anchor),
        ERROR,
    ),
    Claimed(
        "anchor_spread",
        "The anchor loss keeps the embeddings further apart than the rounding loss does.",
        NO_ANCHOR,
        VARIANCE,
    ),
    Claimed("anchor_score", "The anchor loss gives a better score than the rounding loss.", NO_ANCHOR, GAIN),
    Claimed(
        "norm_imbalance",
        "Without a normalization the embeddings of frequent and rare types differ in length.",
        NO_NORM._replace(alone=True),
        LENGTH,
    ),
    Claimed("norm_score", "The embedding norm improves the score.", NO_NORM, GAIN),
    Claimed(
        "noise_insufficient",
        "With F = 1 the embedding nearest to z_t already gives most tokens away at small and middle t.",
        Change(NOISE, 1.0, "F = 1", alone=True),
        RECOVERY,
    ),
    Claimed(
        "noise_degeneration",
        "With F = 1 the network trusts z_t: its prediction from pure noise gets worse as t falls, more than with "
        "F > 1.",
        LOW_NOISE,
        FALL,
    ),
    Claimed("noise_score", "A noise factor above 1 improves the score.", LOW_NOISE, GAIN),
    Asked("all_three", lambda study: all(each.varied(study) for each in (NO_ANCHOR, NO_NORM, LOW_NOISE)), all_three),
)
QUESTIONS: tuple[Claimed | Asked, ...] = (
    *CHANGES,
    Asked("few_steps", lambda study: is_of_steps(study) or any(each.varied(study) for each in CHANGES), few_steps),
    *SYSTEMS,
)
"""In the order in which they are listed; Holm's correction counts those that a study can test."""


def asked_of(study: StudyResults) -> list[Claimed | Asked]:
    """The questions that study.json names under "claims"; of a study made before that, those whose subject it varies.

    All studies of the paper's model can say something on steps: that claim comes with any other.
    """
    named = study.info.get("claims")
    return [each for each in QUESTIONS if (each.varied(study) if named is None else each.key in named)]


def unknown_claims(study: StudyResults) -> list[str]:
    """A note for each claim that study.json names and that is none of these."""
    known = {each.key for each in QUESTIONS}
    return [
        f"study.json names a claim that is not known: {key}"
        for key in study.info.get("claims") or []
        if key not in known
    ]
