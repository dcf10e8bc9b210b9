"""The figures of a search: like those of a study, but drawn from a search and the two studies made after it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.figures import importance, pareto, tuned
from analysis.figures.common import Missing
from analysis.figures.names import drawable_search, search_names, whole
from analysis.formats import FORMATS
from analysis.saving import save
from analysis.style import Signs, styled
from analysis.tuned.data import Tuned

MODULES = (tuned, importance, pareto)


def redraw(
    found: Tuned, out: Path, formats: Iterable[str] = FORMATS, style: Mapping[Any, Any] | None = None
) -> tuple[list[Path], list[str]]:
    """Draw every figure of a search into the folder out: files written, and a line for each figure left out.

    style: settings of matplotlib over those of paper.mplstyle.
    """
    written: list[Path] = []
    said = []
    with styled(style), Signs() as signs:
        drawn, names = drawable_search(found), search_names(found)  # how much of a name fits depends on the style
        for module in MODULES:
            try:
                figure, frame = module.figure(drawn)
                written += save(figure, out / module.NAME, whole(frame, names), formats)
            except Missing as missing:
                said.append(f"{module.NAME} left out: {missing}")
    return written, said + signs.said()
