"""python -m analysis.tuned: the command."""

import argparse
from pathlib import Path

from core.errors import UserError, command
from core.run_folder import SEARCH


@command
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m analysis.tuned", description="Tables and figures of a search.")
    parser.add_argument("search_dir", type=Path, help="folder of a search, such as runs/modules-search")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    options = parser.parse_args()
    from analysis.tuned.writing import show_and_write  # takes seconds: not for --help

    if not show_and_write(options.search_dir, options.out):
        raise UserError(f"no search in {options.search_dir} (no {SEARCH}): make search writes one to runs/STUDY-search")


if __name__ == "__main__":
    main()
