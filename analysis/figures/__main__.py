"""Redraw the figures and tables of one or more studies:

python -m analysis.figures runs/modules --out figures        (make figures)

writes figures/<study>/<figure>.{pdf,png,csv} and figures/<study>/table.{md,csv,tex}; the same runs give the same bytes.
"""

import argparse
from pathlib import Path

from analysis.figures import redraw
from analysis.load import load
from analysis.tables import show, write
from analysis.tuned import report
from core.errors import command


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description="Redraw figures and tables.")
    parser.add_argument("study_dir", nargs="+", type=Path, help="folder of a study, such as runs/modules")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    parser.add_argument(
        "--formats", nargs="+", default=["pdf", "png"], choices=["pdf", "png", "svg"], help="of figures"
    )
    parser.add_argument("--quiet", action="store_true", help="do not print the table")
    return parser.parse_args()


@command
def main() -> None:
    """Load, draw, write, and say what was written and what was left out."""
    options = parse()
    folders = [path for path in options.study_dir if not report(path, options.out, options.formats, options.quiet)]
    for study in [load(path) for path in folders]:
        written, skipped = redraw(study, options.out / study.name, options.formats)
        written += write(study, options.out / study.name)
        if not options.quiet:
            show(study)
        for path in written:
            print(f"wrote {path}")
        for line in skipped:
            print(line)


if __name__ == "__main__":
    main()
