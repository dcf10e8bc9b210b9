"""How to read the verdicts, in short; analysis/verdicts.md says it in full."""

from analysis.load import Study
from analysis.report.html import tag
from analysis.report.section import Section

LINES = {
    "Interval": "What the seeds allow: had the study been made again and again with other seeds, 95% of such intervals "
    "would hold the true effect, if seeds scatter normally (fewer if they scatter askew or runs diverge). It says "
    "nothing about other corpora, sizes or budgets.",
    "Reproduced": "The whole interval lies where the claim holds, also after the correction for many claims.",
    "Not reproduced": "The whole interval lies where the claim does not hold: evidence against it in this setting.",
    "Undecided": "The interval holds values for which the claim is true and values for which it is not, or it decides "
    "only without the correction, or the study lacks its subject. It does not mean that there is no effect.",
    "p (Holm)": "Who asks many questions finds something by chance. Holm's correction keeps the chance of even one "
    "false verdict in a family of questions at 5% or less. Families: the claims about scores, the claims about "
    "mechanisms, the main effects, the interactions, the arms of a table.",
    "Pooled": "The same effect with the residual spread of all arms together: narrower, and right only if all effects "
    "vary equally from seed to seed. No verdict on a claim rests on it.",
    "Seeds needed": "How many seeds would decide with a probability of 80% if this difference and spread were the true "
    "ones; from two or three seeds no more than an orientation.",
}


def reading_section(_: Study) -> Section:
    """Terms and what they mean."""
    terms = [(tag("dt", name), tag("dd", text)) for name, text in LINES.items()]
    return Section("reading", "How to read the verdicts", tag("dl", terms, class_="recipe"))
