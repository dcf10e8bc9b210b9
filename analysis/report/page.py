"""The page: head, contents, sections, style and script in one file that asks nothing of any network."""

import base64
import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from analysis.load import StudyResults
from analysis.report.folders import place
from analysis.report.html import Html, join, tag
from analysis.report.section import Section
from analysis.report.sections.arms import arms_section, effects_section
from analysis.report.sections.curves import curves_section
from analysis.report.sections.failures import failures_section
from analysis.report.sections.figures import figures_section
from analysis.report.sections.header import header, headline
from analysis.report.sections.provenance import provenance_section
from analysis.report.sections.published import published_section
from analysis.report.sections.reading import reading_section
from analysis.report.sections.samples import samples_section
from analysis.report.sections.tuned import tuned_section
from analysis.report.sections.verdicts import verdicts_section
from analysis.report.themes import dark_css
from core.watching import stage

SECTIONS: tuple[Callable[..., Section | None], ...] = (
    verdicts_section,
    arms_section,
    effects_section,
    tuned_section,
    published_section,
    figures_section,
    curves_section,
    samples_section,
    failures_section,
    reading_section,
    provenance_section,
)
LINKED = (failures_section, provenance_section)
"""Those whose run folders are links, where it is known where the page will lie."""
EARLY = 'document.documentElement.classList.add("js")'
"""Before the first paint, so that nothing jumps: what needs the script is shown only with it."""


def page(study: StudyResults, out: Path | None = None) -> str:
    """The whole report of a study as HTML; the same runs give the same text.

    out: the folder that it will lie in, from where links lead to the run folders; without it they are no links.
    """
    base = None if out is None else place(study.path, out)
    sections = list[Section]()
    for make in SECTIONS:
        stage("writing the report")
        if section := make(study, base) if make in LINKED else make(study):
            sections.append(section)
    script = asset("script.js")
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        header(study),
        contents(sections),
        tag("main", [_section(section) for section in sections], id="content", tabindex="-1"),
        tag("footer", tag("p", "Made from the run folders by ", tag("code", "python -m analysis.report"), ".")),
        Html(f"<script>{script}</script>"),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(EARLY, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{headline(study)} ({study.name})"),
        Html(f"<style>{asset('style.css')}\n{dark_css(body)}</style>"),
        Html(f"<script>{EARLY}</script>"),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def asset(name: str) -> str:
    """A file of this package."""
    return (resources.files("analysis.report") / name).read_text(encoding="utf-8").strip()


def policy(*scripts: str) -> str:
    """What the page may do: run these scripts, use its own styles, and nothing else; no network at all."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def contents(sections: list[Section]) -> Html:
    """Links to all sections."""
    items = [tag("li", tag("a", section.title, href=f"#{section.anchor}")) for section in sections]
    return tag("nav", tag("ol", items), aria_label="Contents", class_="contents")


def _section(section: Section) -> Html:
    heading = f"{section.anchor}-heading"
    inner = join(tag("h2", section.title, id=heading), section.body)
    return tag("section", inner, id=section.anchor, aria_labelledby=heading)
