"""Redraw the figures and tables of one or more studies:

python -m analysis.figures runs/modules --out figures        (make figures)

writes figures/<study>/<figure>.{pdf,png,svg,csv} and figures/<study>/table.{md,csv,tex}; the same runs give the same
bytes. For a paper: --width column, or the inches of your column, and --style with a matplotlib style file of your own.
"""

import argparse
import math
from pathlib import Path

from analysis.formats import COLUMN, FORMATS, PAGE
from core.errors import command, outlive_output


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description="Redraw figures and tables.")
    parser.add_argument("study_dir", nargs="+", type=Path, help="folder of a study, such as runs/modules")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS, help="of figures (default: all)")
    parser.add_argument(
        "--width", type=inches, help="of all figures: column, page, or inches (default: what suits each figure)"
    )
    parser.add_argument("--style", type=Path, help="matplotlib style file, over analysis/paper.mplstyle")
    parser.add_argument("--quiet", action="store_true", help="do not print the table")
    return parser.parse_args()


def inches(text: str) -> float:
    """A width in inches: a column, a page, or a number between 2 and 20."""
    named = {"column": COLUMN, "page": PAGE}
    try:
        width = named[text] if text in named else float(text)
    except ValueError:
        width = math.nan
    if not 2 <= width <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is neither column nor page nor a number of inches from 2 to 20")
    return width


@command
def main() -> None:
    """Load, draw, write, and say what was written and what was left out."""
    outlive_output()  # what it makes are files
    options = parse()
    from analysis.figures.drawing import redraw  # these take seconds: not for --help
    from analysis.figures.write_search import show_and_write
    from analysis.files import describe_written, writing
    from analysis.load import load
    from analysis.plain_text import spell_out
    from analysis.style import read_style
    from analysis.tables import show, tabulate, write

    style = read_style(options.style) if options.style else {}
    folders = [
        path
        for path in options.study_dir
        if not show_and_write(path, options.out, options.formats, options.quiet, style)
    ]
    for study in [load(path) for path in folders]:
        made = tabulate(study)
        with writing():
            written, skipped = redraw(study, options.out / study.name, options.formats, options.width, style)
            written += write(study, options.out / study.name, made)
        if not options.quiet:
            show(study, made=made)
        print(describe_written(written))
        for line in skipped:
            print(spell_out(line))


if __name__ == "__main__":
    main()
