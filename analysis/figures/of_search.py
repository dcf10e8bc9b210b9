"""The figures of a search: like those of a study, but drawn from a search and the two studies made after it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from analysis.figures import importance, pareto, tuned
from analysis.figures.common import Missing
from analysis.style import FORMATS, RC, save
from analysis.tuned import Tuned

MODULES = (tuned, importance, pareto)


def redraw(
    found: Tuned, out: Path, formats: Iterable[str] = FORMATS, style: Mapping[Any, Any] | None = None
) -> tuple[list[Path], list[str]]:
    """Draw every figure of a search into the folder out: files written, and a line for each figure left out.

    style: settings of matplotlib over those of paper.mplstyle.
    """
    written: list[Path] = []
    skipped = []
    for module in MODULES:
        try:
            with mpl.rc_context({**RC, **(style or {})}):
                figure, frame = module.figure(found)
                written += save(figure, out / module.NAME, frame, formats)
        except Missing as missing:
            skipped.append(f"{module.NAME} left out: {missing}")
    return written, skipped
