"""The command: python -m analysis.preview runs/modules --workspace workspace.json --out workspace.html"""

import argparse
from pathlib import Path

from core.errors import UserError, command


@command
def main() -> None:
    """Read both, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m analysis.preview", description="Draw a W&B workspace's JSON.")
    parser.add_argument("study_dir", type=Path, help="folder of a study, such as runs/modules")
    parser.add_argument("--workspace", type=Path, required=True, help="workspace.json, as make dashboard writes it")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    options = parser.parse_args()
    from analysis.load import load  # these take seconds: not for --help
    from analysis.preview.page import page
    from analysis.preview.spec import read

    workspace = read(options.workspace)
    study, why = None, ""
    try:
        study = load(options.study_dir)
    except UserError as error:
        why = str(error)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(workspace, study, why), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
