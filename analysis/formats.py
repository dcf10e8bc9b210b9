"""What figures are written as, and how wide."""

from typing import NamedTuple

FORMATS = ("pdf", "png", "svg")
COLUMN, PAGE = 3.35, 6.9
"""Widths in inches of a column and of a page of a two-column paper."""


class Width(NamedTuple):
    """Inches of all figures, and of those that do not fit into that; None: what suits each figure."""

    first: float | None = None
    else_: float | None = None


VENUES = {
    "column": Width(COLUMN),
    "page": Width(PAGE),
    "acl": Width(3.03, 6.3),
    "icml": Width(3.25, 6.75),
    "neurips": Width(5.5, 5.5),
}
"""Column and page of the style files of ACL and ICML; NeurIPS has one column. A figure too tall for a column takes the
page."""
