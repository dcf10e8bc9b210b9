"""Redraw the figures and tables of one or more studies:

python -m analysis.figures runs/modules --out figures        (make figures)

writes figures/<study>/<figure>.{pdf,png,svg,csv} and figures/<study>/table.{md,csv,tex}; the same runs give the same
bytes. <figure>.txt is its caption, with what the numbers are worth. For a paper: --width acl (or icml, neurips, column,
page, inches), --style serif or a matplotlib style file of your own, --arms and --panels to choose what is drawn.
"""

import argparse
import math
from pathlib import Path

from analysis.formats import FORMATS, VENUES, Width
from core.display import shown
from core.errors import UserError, command, outlive_output
from core.run_folder import SEARCH


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description="Redraw figures and tables.")
    parser.add_argument("study_dir", nargs="+", type=Path, help="folder of a study, such as runs/modules")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS, help="of figures (default: all)")
    parser.add_argument(
        "--width", type=inches, help=f"of all figures: {', '.join(VENUES)}, or inches (default: what suits each figure)"
    )
    parser.add_argument(
        "--style", type=Path, help="serif, or a matplotlib style file of your own, over analysis/paper.mplstyle"
    )
    parser.add_argument("--arms", nargs="+", default=[], help="the arms that figures show (default: all)")
    parser.add_argument(
        "--panels", nargs="+", default=[], help="the panels of figures that have them: mse accuracy ... (default: all)"
    )
    parser.add_argument("--note", action="store_true", help="write into the pictures what their numbers are worth")
    parser.add_argument("--metric", help="score to judge the study by (default: its own), e.g. chrf")
    parser.add_argument("--quiet", action="store_true", help="do not print the table")
    parser.add_argument("--brief", action="store_true", help="print the table alone")
    return parser.parse_args()


def inches(text: str) -> Width:
    """A width by the name of a venue, or a number of inches between 2 and 20."""
    if text in VENUES:
        return VENUES[text]
    try:
        width = float(text)
    except ValueError:
        width = math.nan
    if not 2 <= width <= 20:
        names = ", ".join(VENUES)
        raise argparse.ArgumentTypeError(f"{text!r} is neither one of {names} nor a number of inches from 2 to 20")
    return Width(width)


WHERE = "{} has all columns, how to read them, what the statistics are, and where the numbers come from"


@command
def main() -> None:
    """Load, draw, write, and say what was written and what was left out."""
    outlive_output()  # what it makes are files
    options = parse()
    from analysis.choices import Choices  # these take seconds: not for --help
    from analysis.figures.drawing import choose, redraw
    from analysis.figures.write_search import show_and_write
    from analysis.files import describe_written, writing
    from analysis.load import load
    from analysis.plain_text import spell_out
    from analysis.style_sheet import read_style
    from analysis.tables import show, tabulate, write

    style, loud = read_style(options.style) if options.style else {}, Choices(note=options.note)
    for path in options.study_dir if options.metric else ():
        if (path / SEARCH).exists():
            raise UserError(
                f"--metric {options.metric}: {path} is a search, which stands on the score that it searched by"
            )
    folders = [
        path
        for path in options.study_dir
        if not show_and_write(path, options.out, options.formats, options.quiet, style, loud, options.brief)
    ]
    if len(folders) < len(options.study_dir) and (options.width or options.arms or options.panels):
        print("figures of a search have their own width, all arms and all panels")
    with shown(stderr=True):
        studies = [load(path, options.metric) for path in folders]
    choices = [choose(study, options.arms, options.panels, options.note) for study in studies]
    for study, choice in zip(studies, choices, strict=True):
        with writing(), shown(stderr=True):
            made, out = tabulate(study), options.out / study.name
            written, skipped = redraw(study, out, options.formats, options.width, style, choice)
            written += write(study, out, made)
        if not options.quiet:
            show(study, made=made)
        if not options.brief:
            lines = [describe_written(written), *skipped, WHERE.format(out / "table.md")]
            print("\n".join(map(spell_out, lines)))


if __name__ == "__main__":
    main()
