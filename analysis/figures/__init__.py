"""The figures, one file each: study -> tidy frame -> statistics -> draw(ax).

A figure module has `NAME` and `figure(study) -> (Figure, DataFrame)`, the frame being what was drawn; it raises
`Missing` when the study does not hold what it needs. Add a module to `MODULES` and it is drawn with the others.
"""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl

from analysis.figures import ablation, embedding_norms, loss_collapse, one_shot, per_step, score_steps
from analysis.figures.common import Missing
from analysis.load import Study
from analysis.style import RC, save

MODULES = (ablation, embedding_norms, loss_collapse, per_step, one_shot, score_steps)


def redraw(study: Study, out: Path, formats: Iterable[str] = ("pdf", "png")) -> tuple[list[Path], list[str]]:
    """Draw every figure of a study into the folder out: files written, and a line for each figure left out."""
    written: list[Path] = []
    skipped = []
    for module in MODULES:
        try:
            with mpl.rc_context(RC):
                figure, frame = module.figure(study)
                written += save(figure, out / module.NAME, frame, formats)
        except Missing as missing:
            skipped.append(f"{module.NAME} left out: {missing}")
    return written, skipped
