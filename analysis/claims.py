"""The paper's claims, each with its test on a study's data, its effect with interval, and a verdict.

`claims(study)` judges those that a study names. The tests were fixed in this form: one number per seed (a paired
difference, a ratio, a share), its 95% t interval over seeds, and a criterion: the values of the effect for which the
claim holds. The verdict is

- reproduced, if the whole interval lies where the claim holds,
- not reproduced, if the whole interval lies where it does not (evidence against the claim, not lack of evidence),
- undecided otherwise, and where the study does not vary what the claim is about.

Both need a p of at most 0.05 after Holm's correction; p is the smallest error probability at which the interval would
still decide. Where the scores allow no verdict at all (analysis/judging.py) there is none, whatever the interval. There
are three families, each corrected for those of its claims that the study can test, whatever came out: about the score
(what a reader acts on), about mechanisms (why it should be so), and about other systems. Verdicts on scores thus do not
depend on how many mechanisms are looked at, as in the table of effects main effects do not on interactions. The chance
of a false verdict is at most 5% in each, 10% in two together. The claims are about the full model (the study's control
arm) and about what happens when one thing is taken from it, as in the paper's own ablation, or another system stands in
its place; averages over all settings of the other factors stand in the table of effects.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from analysis.load import StudyResults
from analysis.questions import Question, asked_of
from analysis.questions.base import Family
from analysis.questions.full_model import full_model
from analysis.stats import LEVEL, SHOWN, Interval, holm

Verdict = Literal["reproduced", "not reproduced", "undecided", "no verdict"]


NO_CONTROL = "The full model, this study's control arm, has no result to compare with."
UNDEFINED = {
    0: "No seed has all the values that are needed, so there is no interval.",
    1: "One seed has no interval.",
}
"""Why there is no interval, by the number of values."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what the study says about it.

    effect is in `unit`, of the comparison in `contrast`, over `seeds` seeds (all NaN and 0 where nothing was tested);
    `reason` says in a sentence or more why the verdict is what it is. edges: the values of the effect at which the
    claim begins or ceases to hold. few: of two seeds, which show no interval, the effect in each.
    """

    key: str
    statement: str
    verdict: Verdict
    effect: Interval
    unit: str
    contrast: str
    reason: str
    seeds: int
    edges: tuple[float, ...] = ()
    few: tuple[float, ...] = ()


def claims(study: StudyResults) -> list[Claim]:
    """The claims that the study is there to judge (`asked_of`), with its verdicts."""
    asked = [ask(study) for ask in asked_of(study)]
    if full_model(study) is None:
        asked = [replace(question, missing=NO_CONTROL) for question in asked]
    families = {family: [q for q in asked if q.family == family] for family in get_args(Family)}
    judged = {claim.key: claim for family in families.values() for claim in judge_family(family)}
    found = [judged[question.key] for question in asked]
    if why := study.no_verdict or study.no_verdicts.get(str(study.control), ""):
        return [replace(claim, verdict="no verdict", reason=why) for claim in found]
    return found


def judge_family(family: list[Question]) -> list[Claim]:
    """The verdicts on claims that are corrected together; a void one counts, as if p were 1: it was asked."""
    adjusted = holm([1.0 if question.void else question.pvalue for question in family])
    tested = int(np.isfinite(adjusted).sum())
    return [judge(question, float(p), tested) for question, p in zip(family, adjusted, strict=True)]


def judge(question: Question, p: float, tested: int) -> Claim:
    """The verdict on one claim, with its reason; p: after the correction for `tested` claims of its family."""
    interval, q = question.interval, question
    sides = {q.holds(interval.low), q.holds(interval.high)} if interval.defined else set()
    clear = len(sides) == 1 and not any(interval.low <= edge <= interval.high for edge in q.edges)
    alone: Verdict = "undecided" if not clear else "reproduced" if sides == {True} else "not reproduced"
    verdict: Verdict = alone if p <= 1 - LEVEL + 1e-12 and not q.open else "undecided"
    verdict = "no verdict" if q.void else verdict
    reason = " ".join(part for part in (_why(q, interval, alone, verdict, p, tested), q.note) if part)
    contrast = f"{q.contrast} (geometric mean over seeds)" if q.log and q.contrast else q.contrast
    few = tuple(np.exp(q.values) if q.log else q.values) if 1 < interval.n < SHOWN else ()
    return Claim(q.key, q.statement, verdict, interval, q.unit, contrast, reason, interval.n, q.edges, few)


def _why(q: Question, interval: Interval, alone: Verdict, verdict: Verdict, p: float, tested: int) -> str:
    """The reason for a verdict; alone: what the interval would say without the correction."""
    if q.missing or q.void or q.open:
        return q.missing or q.void or q.open
    if not interval.defined or math.isnan(p):
        return UNDEFINED.get(interval.n, "All seeds gave the same value: there is no spread to judge by.")
    whose = "interval" if interval.n >= SHOWN else f"t interval of {interval.n} seeds, which is too wide to be shown,"
    value = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    corrected = f"{value} after Holm's correction for {tested} {q.family} claim{'s' * (tested > 1)}"
    if verdict != "undecided":
        side = "within" if verdict == "reproduced" else "outside"
        return f"The whole {whose} lies {side} what the claim says, {q.criterion} ({corrected})."
    if alone != "undecided":
        side = "within" if alone == "reproduced" else "outside"
        return (
            f"The whole {whose} lies {side} what the claim says, {q.criterion}, and alone would say {alone}; among so "
            f"many comparisons it is not enough ({corrected})."
        )
    return f"The {whose} holds values for which the claim is true ({q.criterion}) and values for which it is not."


def digits(claim: Claim) -> int:
    """Decimals to write an effect with: one from 10 on, else two; more where two would be all zeros."""
    size = abs(claim.effect.estimate)
    if not math.isfinite(size) or size == 0:
        return 2
    return 1 if size >= 10 else max(2, 1 - math.floor(math.log10(size)))
