"""The head of the page: what was asked, what was compared, on what, when, and what the numbers are worth."""

from analysis.load import StudyResults
from analysis.numbers import number
from analysis.report.html import Html, join, tag, text_of
from analysis.report.sections.provenance import moment
from analysis.results import ablation, metric_name, seeds_text

FACTOR_NAMES = {
    "anchor_loss": "the anchor loss",
    "embedding_norm": "the embedding norm",
    "noise_factor": "the noise factor",
    "token_loss": "the token loss",
    "method": "the method",
}
"""How a factor is called in a sentence."""


def header(study: StudyResults) -> Html:
    """Title, banner and the facts in one line each."""
    facts = tag("ul", [tag("li", fact) for fact in summary(study)], class_="facts")
    note = tag("p", study.banner, class_="banner") if study.banner else None
    kind = tag("p", "Ablation report: ", text_of(study.name), class_="kind")
    return tag("header", kind, tag("h1", text_of(headline(study))), note, facts)


def headline(study: StudyResults) -> str:
    """What the study asks, as it says itself; of one that does not, what it varies."""
    if question := study.info.get("question"):
        return str(question)
    names = [FACTOR_NAMES.get(name, name.replace("_", " ")) for name in study.factors]
    if not names:
        return f"How do {len(study.arms)} arms of {study.name} compare?"
    *first, last = names
    return f"What do {', '.join(first)} and {last} each change?" if first else f"What does {last} change?"


def summary(study: StudyResults) -> list[Html]:
    """Arms and seeds, results of the runs planned, the best arm, and the data."""
    planned = len(study.info.get("runs") or study.runs)
    done, arms = len(study.scores), len(study.arms)
    count = f"{arms} {'arm' if arms == 1 else 'arms'}"
    lines = [join(tag("strong", count), f", {seeds_text(study)} each")]
    lines.append(join(tag("strong", f"{done} of {planned}"), " runs have a result"))
    table = ablation(study)
    best = table.loc[table[study.metric].idxmax()]
    lines.append(
        join(
            "highest mean ",
            metric_name(study),
            ": ",
            tag("strong", number(best[study.metric])),
            " (",
            text_of(best["label"]),
            ")",
        )
    )
    names = sorted({str((record.get("data") or {}).get("name")) for record in study.records.values()} - {"None"})
    if names:
        lines.append(join("data: ", text_of(" | ".join(names[:3]))))
    if days := dates(study):
        lines.append(join("run: ", text_of(days)))
    return lines


def dates(study: StudyResults) -> str:
    """The days from the first run's beginning to the last one's end; empty where no record has any."""
    found = [moment(record.get(key)) for record in study.records.values() for key in ("started", "finished")]
    days = sorted({each[:10] for each in found if each})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
