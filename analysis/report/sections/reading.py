"""How to read the verdicts, in short; analysis/verdicts.md says it in full."""

from analysis.load import StudyResults
from analysis.questions import asked_of
from analysis.report.html import tag
from analysis.report.section import Section

INTERVAL = {
    "Interval": "What the seeds allow: had the study been made again and again with other seeds, 95% of such intervals "
    "would hold the true effect, if seeds scatter normally (fewer if they scatter askew or runs diverge). It says "
    "nothing about other corpora, sizes or budgets.",
}
CLAIMS = {
    "Reproduced": "The whole interval lies where the claim holds, also after the correction for many claims.",
    "Not reproduced": "The whole interval lies where the claim does not hold: evidence against it in this setting.",
    "Undecided": "The interval holds values for which the claim is true and values for which it is not, or it decides "
    "only without the correction, or the study lacks its subject. It does not mean that there is no effect.",
}
NO_CLAIMS = {
    "Helps, hurts; higher, lower": "The whole interval lies on one side of 0, also after the correction for many "
    "comparisons.",
    "Undecided": "Anything else. It does not mean that there is no effect.",
}
EFFECTS = {
    "p (Holm)": "Who asks many questions finds something by chance. Holm's correction keeps the chance of even one "
    "false verdict in a family of questions at 5% or less. Families: {claims}the main effects, the interactions, the "
    "arms of a table.",
    "Pooled": "The same effect with the residual spread of all arms together: narrower, and right only if all effects "
    "vary equally from seed to seed.",
    "Seeds needed": "How many seeds would decide with a probability of 80% if this difference and spread were the true "
    "ones; from two or three seeds no more than an orientation.",
}


FAMILIES = "the claims about scores, those about mechanisms, those about other systems, "


def reading_section(study: StudyResults) -> Section:
    """Terms and what they mean."""
    claims = asked_of(study)
    lines = INTERVAL | (CLAIMS if claims else NO_CLAIMS) | EFFECTS
    texts = {name: text.format(claims=FAMILIES if claims else "") for name, text in lines.items()}
    terms = [(tag("dt", name), tag("dd", text)) for name, text in texts.items()]
    return Section("reading", "How to read the verdicts", tag("dl", terms, class_="recipe"))
