"""The figures of a search: like those of a study, but drawn from a search and the two studies made after it."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl

from analysis.figures import importance, pareto, tuned
from analysis.figures.common import Missing
from analysis.style import RC, save
from analysis.tuned import Tuned

MODULES = (tuned, importance, pareto)


def redraw(found: Tuned, out: Path, formats: Iterable[str] = ("pdf", "png")) -> tuple[list[Path], list[str]]:
    """Draw every figure of a search into the folder out: files written, and a line for each figure left out."""
    written: list[Path] = []
    skipped = []
    for module in MODULES:
        try:
            with mpl.rc_context(RC):
                figure, frame = module.figure(found)
                written += save(figure, out / module.NAME, frame, formats)
        except Missing as missing:
            skipped.append(f"{module.NAME} left out: {missing}")
    return written, skipped
