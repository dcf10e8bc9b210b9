"""What the figures of a search share."""

import textwrap

from matplotlib.figure import Figure

from analysis.style import GREY, SMALL
from analysis.tuned.data import Tuned


def caption(figure: Figure, found: Tuned, what: str) -> None:
    """Above a figure: what its numbers are worth, and what it shows."""
    text = "; ".join(line for line in (found.search.get("banner") or "", what) if line)
    text = textwrap.fill(text, int(figure.get_figwidth() / 0.051))
    figure.suptitle(text, x=0.01, ha="left", fontsize=SMALL, color=GREY, style="italic")
