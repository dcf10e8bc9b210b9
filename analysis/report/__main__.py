"""Write the report of a study:

python -m analysis.report runs/modules --out report        (make report)

writes report/index.html; the same runs give the same bytes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.display import shown
from core.errors import UserError, command, outlive_output
from core.run_folder import replacing

if TYPE_CHECKING:
    from analysis.load import StudyResults


def load_reported(path: Path, metric: str | None = None) -> "StudyResults":
    """The study in a folder; of a search, the study at each arm's own best, else the one at the default. metric: to
    judge it by instead of its own."""
    from analysis.load import load
    from analysis.searches import load_search

    found = load_search(path)
    chosen = found and (found.best or found.default)
    return load(chosen.path if chosen else path, metric) if metric or not chosen else chosen


def write(text: str, out: Path) -> Path:
    """Write out/index.html whole or not at all. Raises UserError where that is impossible."""
    path = out / "index.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}; give another folder with --out (make: REPORT=)"
        ) from None
    return path


@command
def main() -> None:
    """Load the study, write its report, say where it is."""
    outlive_output()  # what it makes is a file
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="One HTML file about a study.")
    parser.add_argument("study_dir", type=Path, help="folder of a study, such as runs/modules")
    parser.add_argument("--out", type=Path, default=Path("report"), help="where to write index.html (default: report)")
    parser.add_argument("--metric", help="score to judge the study by (default: its own), e.g. chrf")
    options = parser.parse_args()
    from analysis.report.page import page  # takes seconds: not for --help

    with shown(stderr=True):
        text = page(load_reported(options.study_dir, options.metric), options.out)
    path = write(text, options.out)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB, needs no network)")


if __name__ == "__main__":
    main()
