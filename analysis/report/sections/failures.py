"""Runs that failed, diverged or collapsed, and what was left out."""

from analysis.load import StudyResults
from analysis.questions import unknown_claims
from analysis.report.folders import folder_link
from analysis.report.html import Html, join, tag
from analysis.report.html_tables import table
from analysis.report.section import Section
from analysis.results import metric_name


def failures_section(study: StudyResults, base: str | None = None) -> Section:
    """Results that diverged or collapsed (they count), runs without a result (they do not), and notes.

    base: where the study's folder is, seen from the page.
    """
    parts = [part for part in (_odd(study, base), _failed(study, base), _missing(study)) if part is not None]
    notes = [tag("li", f"{note}.") for note in (*study.notes, *unknown_claims(study))]
    if not parts:
        parts.append(tag("p", "None: every planned run finished, and none diverged or collapsed."))
    if notes:
        parts.append(join(tag("h3", "Notes"), tag("ul", notes)))
    return Section("failures", "Failed and diverged runs", join(*parts))


def _odd(study: StudyResults, base: str | None) -> Html | None:
    odd = study.scores[study.scores["outcome"] != "ok"]
    if odd.empty:
        return None
    rows = [
        [row["label"], str(row["seed"]), row["outcome"], f"{row[study.metric]:.1f}", row["run"]]
        for row in odd.to_dict("records")
    ]
    heads = ["arm", "seed", "outcome", metric_name(study), "run folder"]
    text = tag("p", "These diverged or collapsed. They count as results, with the score they had.")
    return join(tag("h3", "Diverged or collapsed"), text, _runs(heads, rows, "Diverged or collapsed results", base))


def _failed(study: StudyResults, base: str | None) -> Html | None:
    if study.failed.empty:
        return None
    rows = [
        [row.label, str(row.seed) if row.seed >= 0 else "n/a", row.state, row.reason, row.run]
        for row in study.failed.itertuples()
    ]
    heads = ["arm", "seed", "state", "reason", "run folder"]
    text = tag("p", "These have no result and are in no mean. Start the sweep again and what is missing is run.")
    return join(tag("h3", "Without a result"), text, _runs(heads, rows, "Runs without a result", base))


def _runs(heads: list[str], rows: list[list[str]], caption: str, base: str | None) -> Html:
    """A table whose last column names run folders."""
    shown = [[*row[:-1], folder_link(row[-1], base)] for row in rows]
    return table(heads, shown, caption, texts=rows)


def _missing(study: StudyResults) -> Html | None:
    known = set(study.records) | set(study.failed["run"]) | set(study.runs["run"])
    missing = [name for name in study.info.get("runs") or [] if name not in known]
    if not missing:
        return None
    items = [tag("li", name) for name in missing]
    return join(tag("h3", "Never started"), tag("ul", items))
