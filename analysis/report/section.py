"""What a section of the page is."""

from dataclasses import dataclass

from analysis.report.html import Html


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading: its anchor, its title, and what stands below it."""

    anchor: str
    title: str
    body: Html
