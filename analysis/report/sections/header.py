"""The head of the page: what was compared, on what, and what the numbers are worth."""

from analysis.load import StudyResults
from analysis.report.html import Html, join, tag, text_of
from analysis.results import ablation, metric_name
from analysis.style import seeds_text
from analysis.tables import number


def header(study: StudyResults) -> Html:
    """Title, banner and the facts in one line each."""
    facts = tag("ul", [tag("li", fact) for fact in summary(study)], class_="facts")
    note = tag("p", study.banner, class_="banner") if study.banner else None
    title = tag("h1", "Ablation report: ", text_of(study.name))
    return tag("header", title, note, facts)


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
    return lines
