"""The paper's claims as questions to a study: what is measured, compared with what, for which values a claim holds.

In the order of the paper's argument: objective collapse and the anchor loss, imbalanced scale and the norm,
insufficient noise and the noise factor, all together, few steps. A mechanism and its gain in score are two questions.
"""

from analysis.questions.base import Question
from analysis.questions.mechanisms import anchor_spread, degeneration, imbalance, insufficient, objective, rounding
from analysis.questions.scores import anchor_gain, few_steps, noise_gain, norm_gain, together

__all__ = ["QUESTIONS", "Question"]

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
